//! A hundred rules, each twice: in the policy's language, and as one would write it by hand in Rust.
//!
//! They were drawn at random once: two to four conditions each, over 20 features and 9 fields. By hand, numbers are bare, in
//! minor units, and whatever is missing makes a condition neither true nor false, as in the language.

/// A number, or nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Number {
    pub(super) value: i64,
    pub(super) there: bool,
}

impl Number {
    pub(super) fn of(value: i64) -> Self {
        Self { value, there: true }
    }

    fn gt(self, other: i64) -> bool {
        self.there && self.value > other
    }

    fn ge(self, other: i64) -> bool {
        self.there && self.value >= other
    }

    fn lt(self, other: i64) -> bool {
        self.there && self.value < other
    }

    fn is(self, other: i64) -> bool {
        self.there && self.value == other
    }

    fn isnt(self, other: i64) -> bool {
        self.there && self.value != other
    }

    fn gt_times(self, other: Self, times: i64) -> bool {
        self.there && other.there && other.value.checked_mul(times).is_some_and(|most| self.value > most)
    }
}

macro_rules! operands {
    ($($name:ident)*) => {
        /// The features, in the order of the policy.
        pub(super) const FEATURES: &[&str] = &[$(stringify!($name)),*];

        /// What the rules look at.
        #[derive(Clone, Debug, Default)]
        pub(super) struct Operands {
            $(pub(super) $name: Number,)*
            pub(super) amount: Number,
            pub(super) channel: Number,
            pub(super) entry: Number,
            pub(super) attempts: Number,
            pub(super) account_days: Number,
            pub(super) device: Option<[u64; 2]>,
            pub(super) merchant: [u64; 2],
            pub(super) bad_devices: std::sync::Arc<[[u64; 2]]>,
            pub(super) risky_shops: std::sync::Arc<[[u64; 2]]>,
        }

        impl Operands {
            /// The features, in the order of the policy.
            pub(super) fn features(&self) -> Vec<Number> {
                vec![$(self.$name),*]
            }

            /// The same, to be set.
            pub(super) fn features_mut(&mut self) -> Vec<&mut Number> {
                vec![$(&mut self.$name),*]
            }
        }
    };
}

operands! {
    card_1h card_1d card_7d device_1h device_1d merchant_1h address_1h address_1d declines_1h declines_1d
    shops_1d shops_7d cards_of_device_1d cards_of_address_1d
    spent_1h spent_1d spent_7d top_7d top_30d device_spent_1d
}

impl Operands {
    fn large(&self) -> bool {
        self.amount.gt(50_000) && self.channel.is(1)
    }

    fn fresh(&self) -> bool {
        self.account_days.lt(10) || self.card_7d.lt(2)
    }

    fn in_bad_devices(&self) -> bool {
        self.device.is_some_and(|device| self.bad_devices.binary_search(&device).is_ok())
    }

    fn in_risky_shops(&self) -> bool {
        self.risky_shops.binary_search(&self.merchant).is_ok()
    }
}

macro_rules! rules {
    ($o:ident; $($text:literal => $condition:expr;)*) => {
        /// Their conditions in the policy's language.
        pub(super) const RULES: &[&str] = &[$($text),*];

        /// A bit for each rule that fires.
        #[inline(never)]
        pub(super) fn fired($o: &Operands) -> u128 {
            let (mut fired, mut number) = (0, 0);
            $(
                if $condition {
                    fired |= 1 << number;
                }
                number += 1;
            )*
            let _ = number;
            fired
        }
    };
}

// Two lines each, however long.
#[rustfmt::skip]
rules! { o;
    "device_spent_1d > 1100 USD and not (account_days >= 90)"
        => o.device_spent_1d.gt(110000) && o.account_days.lt(90);
    "address_1h >= 1 and amount in USD >= 200 USD"
        => o.address_1h.ge(1) && o.amount.ge(20000);
    "amount in USD >= 200 USD and amount in USD >= 50 USD and cards_of_device_1d >= 4 and spent_1d > 2200 USD"
        => o.amount.ge(20000) && o.amount.ge(5000) && o.cards_of_device_1d.ge(4) && o.spent_1d.gt(220000);
    "card_1d >= 3 and shops_7d >= 16"
        => o.card_1d.ge(3) && o.shops_7d.ge(16);
    "device in bad_devices and attempts >= 2 and cards_of_address_1d >= 2"
        => o.in_bad_devices() && o.attempts.ge(2) && o.cards_of_address_1d.ge(2);
    "declines_1d >= 6 and attempts is missing"
        => o.declines_1d.ge(6) && !o.attempts.there;
    "not (account_days >= 90) and (device_1d > 10 or spent_1d > 900 USD) and amount in USD < 5000 USD"
        => o.account_days.lt(90) && (o.device_1d.gt(10) || o.spent_1d.gt(90000)) && o.amount.lt(500000);
    "amount in USD > top_30d * 5 and address_1h >= 3"
        => o.amount.gt_times(o.top_30d, 5) && o.address_1h.ge(3);
    "card_7d > 10 and (channel == pos or channel == atm or channel == wallet) and cards_of_device_1d >= 3 and amount in USD < 5000 USD"
        => o.card_7d.gt(10) && (o.channel.is(0) || o.channel.is(2) || o.channel.is(4)) && o.cards_of_device_1d.ge(3) && o.amount.lt(500000);
    "large and (card_1d >= 9 or spent_1h > 250 USD) and declines_1d >= 3 and attempts >= 1"
        => o.large() && (o.card_1d.ge(9) || o.spent_1h.gt(25000)) && o.declines_1d.ge(3) && o.attempts.ge(1);
    "attempts >= 1 and card_7d > 5 and shops_7d > 12"
        => o.attempts.ge(1) && o.card_7d.gt(5) && o.shops_7d.gt(12);
    "card_1d >= 8 and amount in USD >= 100 USD and spent_1d > 700 USD"
        => o.card_1d.ge(8) && o.amount.ge(10000) && o.spent_1d.gt(70000);
    "card_7d >= 25 and entry == tap and amount in USD >= 150 USD"
        => o.card_7d.ge(25) && o.entry.is(1) && o.amount.ge(15000);
    "merchant in risky_shops and declines_1d >= 6"
        => o.in_risky_shops() && o.declines_1d.ge(6);
    "card_1h >= 4 and spent_7d > 6050 USD"
        => o.card_1h.ge(4) && o.spent_7d.gt(605000);
    "address_1d > 9 and card_1h > 1 and (entry == tap or entry == stripe or entry == token)"
        => o.address_1d.gt(9) && o.card_1h.gt(1) && (o.entry.is(1) || o.entry.is(2) || o.entry.is(4));
    "shops_7d >= 7 and address_1h >= 6 and declines_1d > 7 and address_1d > 4"
        => o.shops_7d.ge(7) && o.address_1h.ge(6) && o.declines_1d.gt(7) && o.address_1d.gt(4);
    "not (account_days >= 90) and amount in USD >= 250 USD"
        => o.account_days.lt(90) && o.amount.ge(25000);
    "large and amount in USD < 10000 USD"
        => o.large() && o.amount.lt(1000000);
    "spent_7d > 6750 USD and fresh and address_1h >= 2"
        => o.spent_7d.gt(675000) && o.fresh() && o.address_1h.ge(2);
    "cards_of_address_1d >= 3 and card_1d >= 9 and (card_7d > 14 or spent_1h > 300 USD)"
        => o.cards_of_address_1d.ge(3) && o.card_1d.ge(9) && (o.card_7d.gt(14) || o.spent_1h.gt(30000));
    "amount in USD >= 20 USD and entry == keyed and address_1h >= 6"
        => o.amount.ge(2000) && o.entry.is(3) && o.address_1h.ge(6);
    "merchant in risky_shops and attempts is missing and not (account_days >= 90)"
        => o.in_risky_shops() && !o.attempts.there && o.account_days.lt(90);
    "spent_1d > 1850 USD and amount in USD >= 100 USD and (merchant_1h > 187 or device_spent_1d > 1400 USD)"
        => o.spent_1d.gt(185000) && o.amount.ge(10000) && (o.merchant_1h.gt(187) || o.device_spent_1d.gt(140000));
    "large and declines_1h >= 2 and (device_1h >= 5 or spent_7d > 7000 USD) and device_spent_1d > 1600 USD"
        => o.large() && o.declines_1h.ge(2) && (o.device_1h.ge(5) || o.spent_7d.gt(700000)) && o.device_spent_1d.gt(160000);
    "card_1h > 1 and spent_1d > 1450 USD"
        => o.card_1h.gt(1) && o.spent_1d.gt(145000);
    "spent_7d > 2050 USD and large and attempts >= 1"
        => o.spent_7d.gt(205000) && o.large() && o.attempts.ge(1);
    "top_7d > 200 USD and declines_1h >= 1"
        => o.top_7d.gt(20000) && o.declines_1h.ge(1);
    "(shops_1d >= 2 or spent_1d > 2650 USD) and entry != keyed and (card_7d >= 19 or top_30d > 1800 USD)"
        => (o.shops_1d.ge(2) || o.spent_1d.gt(265000)) && o.entry.isnt(3) && (o.card_7d.ge(19) || o.top_30d.gt(180000));
    "device_1h >= 3 and address_1d >= 15"
        => o.device_1h.ge(3) && o.address_1d.ge(15);
    "not (account_days >= 90) and (channel == ecom or channel == atm or channel == wallet) and cards_of_address_1d >= 4"
        => o.account_days.lt(90) && (o.channel.is(1) || o.channel.is(2) || o.channel.is(4)) && o.cards_of_address_1d.ge(4);
    "merchant in risky_shops and (cards_of_address_1d >= 3 or spent_7d > 5800 USD) and card_7d >= 14 and channel != ecom"
        => o.in_risky_shops() && (o.cards_of_address_1d.ge(3) || o.spent_7d.gt(580000)) && o.card_7d.ge(14) && o.channel.isnt(1);
    "amount in USD > top_30d * 3 and declines_1d >= 3 and declines_1d >= 9 and device_spent_1d > 750 USD"
        => o.amount.gt_times(o.top_30d, 3) && o.declines_1d.ge(3) && o.declines_1d.ge(9) && o.device_spent_1d.gt(75000);
    "address_1d >= 12 and device_1d >= 5"
        => o.address_1d.ge(12) && o.device_1d.ge(5);
    "(address_1h > 3 or top_30d > 800 USD) and channel != wallet and channel == atm and amount in USD >= 200 USD"
        => (o.address_1h.gt(3) || o.top_30d.gt(80000)) && o.channel.isnt(4) && o.channel.is(2) && o.amount.ge(20000);
    "(channel == pos or channel == atm or channel == moto) and amount in USD >= 500 USD and not (account_days >= 7)"
        => (o.channel.is(0) || o.channel.is(2) || o.channel.is(3)) && o.amount.ge(50000) && o.account_days.lt(7);
    "attempts is missing and address_1h >= 1"
        => !o.attempts.there && o.address_1h.ge(1);
    "amount in USD < 8000 USD and channel == moto"
        => o.amount.lt(800000) && o.channel.is(3);
    "spent_1d > 850 USD and top_30d > 2300 USD and card_1d > 2 and amount in USD >= 75 USD"
        => o.spent_1d.gt(85000) && o.top_30d.gt(230000) && o.card_1d.gt(2) && o.amount.ge(7500);
    "spent_1h > 250 USD and spent_1h > 350 USD"
        => o.spent_1h.gt(25000) && o.spent_1h.gt(35000);
    "merchant in risky_shops and attempts is missing and account_days < 7"
        => o.in_risky_shops() && !o.attempts.there && o.account_days.lt(7);
    "declines_1h >= 4 and card_7d >= 11 and cards_of_address_1d >= 3"
        => o.declines_1h.ge(4) && o.card_7d.ge(11) && o.cards_of_address_1d.ge(3);
    "device_1d >= 15 and cards_of_address_1d >= 1 and (channel == ecom or channel == atm or channel == wallet)"
        => o.device_1d.ge(15) && o.cards_of_address_1d.ge(1) && (o.channel.is(1) || o.channel.is(2) || o.channel.is(4));
    "(shops_7d >= 4 or spent_7d > 4650 USD) and shops_7d > 11 and spent_7d > 1650 USD"
        => (o.shops_7d.ge(4) || o.spent_7d.gt(465000)) && o.shops_7d.gt(11) && o.spent_7d.gt(165000);
    "card_1h >= 3 and address_1d >= 11"
        => o.card_1h.ge(3) && o.address_1d.ge(11);
    "(address_1h >= 1 or spent_1h > 800 USD) and shops_1d >= 6 and card_1d > 12"
        => (o.address_1h.ge(1) || o.spent_1h.gt(80000)) && o.shops_1d.ge(6) && o.card_1d.gt(12);
    "(address_1h >= 1 or spent_1h > 750 USD) and card_1h > 1 and (channel == pos or channel == ecom or channel == moto)"
        => (o.address_1h.ge(1) || o.spent_1h.gt(75000)) && o.card_1h.gt(1) && (o.channel.is(0) || o.channel.is(1) || o.channel.is(3));
    "amount in USD < 8000 USD and channel == atm and declines_1d > 9"
        => o.amount.lt(800000) && o.channel.is(2) && o.declines_1d.gt(9);
    "address_1d >= 5 and large and account_days < 60"
        => o.address_1d.ge(5) && o.large() && o.account_days.lt(60);
    "device in bad_devices and attempts >= 3"
        => o.in_bad_devices() && o.attempts.ge(3);
    "declines_1d > 9 and amount in USD >= 200 USD"
        => o.declines_1d.gt(9) && o.amount.ge(20000);
    "spent_1h > 450 USD and attempts is missing"
        => o.spent_1h.gt(45000) && !o.attempts.there;
    "large and card_1h >= 2 and account_days < 60"
        => o.large() && o.card_1h.ge(2) && o.account_days.lt(60);
    "attempts >= 1 and fresh"
        => o.attempts.ge(1) && o.fresh();
    "channel != ecom and spent_7d > 5200 USD and spent_7d > 4100 USD"
        => o.channel.isnt(1) && o.spent_7d.gt(520000) && o.spent_7d.gt(410000);
    "(channel == pos or channel == ecom or channel == wallet) and amount in USD >= 300 USD and attempts is missing"
        => (o.channel.is(0) || o.channel.is(1) || o.channel.is(4)) && o.amount.ge(30000) && !o.attempts.there;
    "amount in USD < 8000 USD and not (account_days >= 7)"
        => o.amount.lt(800000) && o.account_days.lt(7);
    "amount in USD > top_30d * 5 and declines_1d >= 2"
        => o.amount.gt_times(o.top_30d, 5) && o.declines_1d.ge(2);
    "merchant in risky_shops and card_1h >= 2 and channel == pos"
        => o.in_risky_shops() && o.card_1h.ge(2) && o.channel.is(0);
    "amount in USD >= 20 USD and channel == wallet"
        => o.amount.ge(2000) && o.channel.is(4);
    "spent_1d > 1700 USD and card_1h > 3 and (declines_1h >= 1 or device_spent_1d > 3300 USD)"
        => o.spent_1d.gt(170000) && o.card_1h.gt(3) && (o.declines_1h.ge(1) || o.device_spent_1d.gt(330000));
    "amount in USD >= 200 USD and spent_1h > 650 USD and (address_1h >= 4 or spent_1d > 600 USD)"
        => o.amount.ge(20000) && o.spent_1h.gt(65000) && (o.address_1h.ge(4) || o.spent_1d.gt(60000));
    "shops_7d >= 7 and card_1h >= 2"
        => o.shops_7d.ge(7) && o.card_1h.ge(2);
    "device_1h > 2 and entry == stripe"
        => o.device_1h.gt(2) && o.entry.is(2);
    "card_1d >= 8 and address_1h >= 5 and device_spent_1d > 1900 USD and amount in USD < 10000 USD"
        => o.card_1d.ge(8) && o.address_1h.ge(5) && o.device_spent_1d.gt(190000) && o.amount.lt(1000000);
    "attempts >= 1 and (device_1h > 1 or top_30d > 400 USD) and spent_7d > 3150 USD and device_spent_1d > 3150 USD"
        => o.attempts.ge(1) && (o.device_1h.gt(1) || o.top_30d.gt(40000)) && o.spent_7d.gt(315000) && o.device_spent_1d.gt(315000);
    "device_1d >= 6 and top_30d > 1200 USD and card_1d >= 7"
        => o.device_1d.ge(6) && o.top_30d.gt(120000) && o.card_1d.ge(7);
    "merchant in risky_shops and attempts >= 2 and (entry == chip or entry == tap or entry == token) and top_7d > 750 USD"
        => o.in_risky_shops() && o.attempts.ge(2) && (o.entry.is(0) || o.entry.is(1) || o.entry.is(4)) && o.top_7d.gt(75000);
    "attempts >= 1 and channel != wallet and amount in USD >= 400 USD"
        => o.attempts.ge(1) && o.channel.isnt(4) && o.amount.ge(40000);
    "card_1d >= 8 and (channel == pos or channel == ecom or channel == atm) and amount in USD >= 20 USD and spent_1d > 800 USD"
        => o.card_1d.ge(8) && (o.channel.is(0) || o.channel.is(1) || o.channel.is(2)) && o.amount.ge(2000) && o.spent_1d.gt(80000);
    "card_7d >= 13 and account_days < 14"
        => o.card_7d.ge(13) && o.account_days.lt(14);
    "large and amount in USD < 1500 USD"
        => o.large() && o.amount.lt(150000);
    "declines_1h >= 3 and address_1d > 13"
        => o.declines_1h.ge(3) && o.address_1d.gt(13);
    "top_7d > 300 USD and large"
        => o.top_7d.gt(30000) && o.large();
    "declines_1h >= 4 and device_1h >= 3 and attempts is missing"
        => o.declines_1h.ge(4) && o.device_1h.ge(3) && !o.attempts.there;
    "attempts is missing and card_7d >= 16 and (shops_1d >= 6 or device_spent_1d > 2400 USD)"
        => !o.attempts.there && o.card_7d.ge(16) && (o.shops_1d.ge(6) || o.device_spent_1d.gt(240000));
    "device in bad_devices and not (account_days >= 90) and top_30d > 1050 USD"
        => o.in_bad_devices() && o.account_days.lt(90) && o.top_30d.gt(105000);
    "channel == moto and declines_1d > 7 and account_days < 7"
        => o.channel.is(3) && o.declines_1d.gt(7) && o.account_days.lt(7);
    "address_1d >= 13 and (device_1h > 5 or device_spent_1d > 1100 USD) and entry == token"
        => o.address_1d.ge(13) && (o.device_1h.gt(5) || o.device_spent_1d.gt(110000)) && o.entry.is(4);
    "channel != ecom and entry == token"
        => o.channel.isnt(1) && o.entry.is(4);
    "not (account_days >= 90) and spent_1d > 1750 USD and amount in USD >= 200 USD"
        => o.account_days.lt(90) && o.spent_1d.gt(175000) && o.amount.ge(20000);
    "card_1d > 2 and top_7d > 350 USD and spent_7d > 7000 USD"
        => o.card_1d.gt(2) && o.top_7d.gt(35000) && o.spent_7d.gt(700000);
    "amount in USD > top_30d * 5 and (merchant_1h >= 172 or spent_7d > 4750 USD)"
        => o.amount.gt_times(o.top_30d, 5) && (o.merchant_1h.ge(172) || o.spent_7d.gt(475000));
    "attempts >= 1 and entry == chip and shops_7d > 15"
        => o.attempts.ge(1) && o.entry.is(0) && o.shops_7d.gt(15);
    "(channel == pos or channel == ecom or channel == atm) and card_7d >= 6 and amount in USD >= 200 USD"
        => (o.channel.is(0) || o.channel.is(1) || o.channel.is(2)) && o.card_7d.ge(6) && o.amount.ge(20000);
    "device in bad_devices and spent_7d > 6450 USD"
        => o.in_bad_devices() && o.spent_7d.gt(645000);
    "card_1h >= 2 and not (account_days >= 7) and (shops_7d > 14 or device_spent_1d > 600 USD)"
        => o.card_1h.ge(2) && o.account_days.lt(7) && (o.shops_7d.gt(14) || o.device_spent_1d.gt(60000));
    "spent_1d > 550 USD and not (account_days >= 7) and card_1h > 1"
        => o.spent_1d.gt(55000) && o.account_days.lt(7) && o.card_1h.gt(1);
    "device_1d >= 11 and entry == chip and card_1d > 4"
        => o.device_1d.ge(11) && o.entry.is(0) && o.card_1d.gt(4);
    "amount in USD >= 250 USD and (card_1h >= 4 or device_spent_1d > 1600 USD)"
        => o.amount.ge(25000) && (o.card_1h.ge(4) || o.device_spent_1d.gt(160000));
    "cards_of_address_1d > 3 and fresh and attempts >= 4 and shops_1d > 5"
        => o.cards_of_address_1d.gt(3) && o.fresh() && o.attempts.ge(4) && o.shops_1d.gt(5);
    "(entry == chip or entry == keyed or entry == token) and attempts >= 2 and fresh"
        => (o.entry.is(0) || o.entry.is(3) || o.entry.is(4)) && o.attempts.ge(2) && o.fresh();
    "attempts >= 1 and spent_7d > 1450 USD and attempts >= 3"
        => o.attempts.ge(1) && o.spent_7d.gt(145000) && o.attempts.ge(3);
    "cards_of_address_1d >= 4 and (entry == chip or entry == tap or entry == keyed) and amount in USD >= 300 USD and spent_7d > 1850 USD"
        => o.cards_of_address_1d.ge(4) && (o.entry.is(0) || o.entry.is(1) || o.entry.is(3)) && o.amount.ge(30000) && o.spent_7d.gt(185000);
    "merchant in risky_shops and shops_7d > 15 and amount in USD >= 150 USD"
        => o.in_risky_shops() && o.shops_7d.gt(15) && o.amount.ge(15000);
    "entry != chip and entry != keyed and declines_1d >= 9"
        => o.entry.isnt(0) && o.entry.isnt(3) && o.declines_1d.ge(9);
    "amount in USD >= 500 USD and (cards_of_device_1d >= 5 or spent_1h > 550 USD) and top_30d > 2300 USD"
        => o.amount.ge(50000) && (o.cards_of_device_1d.ge(5) || o.spent_1h.gt(55000)) && o.top_30d.gt(230000);
    "card_7d > 9 and channel != pos and amount in USD >= 20 USD"
        => o.card_7d.gt(9) && o.channel.isnt(0) && o.amount.ge(2000);
    "spent_7d > 2950 USD and spent_1d > 1050 USD and attempts is missing"
        => o.spent_7d.gt(295000) && o.spent_1d.gt(105000) && !o.attempts.there;
    "attempts >= 1 and not (account_days >= 30) and (entry == chip or entry == tap or entry == keyed)"
        => o.attempts.ge(1) && o.account_days.lt(30) && (o.entry.is(0) || o.entry.is(1) || o.entry.is(3));
}
