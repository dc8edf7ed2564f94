//! What happens in the simulated city, in the order of simulated time, and which of it is fraud.
//!
//! Ordinary payments arrive at a rate that follows the hour of the day. Fraud comes in four shapes:
//!
//! | shape | what the thief does | what gives it away |
//! |---|---|---|
//! | stolen card | 5–10 dear payments within hours, in other places, at other shops | spending, places |
//! | card testing | one device tries dozens of cards for a dollar each at one online shop | device, small amounts, declines |
//! | compromised terminal | for a day and a half a shop's cards are cloned and used there | labels, days later |
//! | account takeover | password changed on a new device, then large online payments | the order of events |
//!
//! The generator reacts to verdicts: what was blocked is declined, a thief fails a challenge, the issuer
//! declines some of the rest. Every fraud is reported by its holder days later, as a label.

use super::random::Random;
use super::world::{Customer, RHYTHM, World};
use crate::engine::units::{Action, DAY, EventId, HOUR, Key, MINUTE, SECOND, Time};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// A shape of fraud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fraud {
    StolenCard,
    CardTesting,
    Terminal,
    Takeover,
}

/// How a payment was made; the ordinal is that of the policy's enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Channel {
    Pos = 0,
    Ecom = 1,
    Atm = 2,
}

/// A payment and the truth about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Payment {
    pub(super) time: Time,
    pub(super) id: u64,
    pub(super) card: Key,
    pub(super) account: Key,
    pub(super) device: Option<Key>,
    pub(super) shop: Key,
    pub(super) place: Key,
    pub(super) cents: i64,
    pub(super) channel: Channel,
    /// Strong customer authentication passed (ordinal 1) or not done (0).
    pub(super) authenticated: bool,
    pub(super) fraud: Option<Fraud>,
}

/// Something the switch has to tell the appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    Payment(Payment),
    /// The outcome of a payment: approved or not, and whether the refusal was the risk system's.
    Result {
        payment: Payment,
        approved: bool,
        by_risk: bool,
    },
    /// The holder says whether it was fraud.
    Label {
        payment: Payment,
    },
    /// A password was changed from a device.
    PasswordChange {
        id: u64,
        account: Key,
        device: Key,
    },
}

/// The id of an event on the wire: its number in the stream and what it is.
pub(super) fn wire_id(kind: u64, number: u64) -> EventId {
    EventId([number, kind << 56 | 0x6465_6d6f])
}

/// The endless stream.
pub(super) struct Stream {
    world: World,
    random: Random,
    now: Time,
    /// Simulated microseconds between ordinary payments when the rhythm is 1.
    pace: f64,
    next_id: u64,
    /// What is bound to happen, earliest first.
    bound: BinaryHeap<Reverse<(Time, u64, Happening)>>,
    /// Results to send as soon as possible: their time has come when the verdict is there.
    results: VecDeque<(Time, Happening)>,
    next_plot: Time,
    /// (shop, until): where cards are being cloned.
    cloned: Vec<(u32, Time)>,
}

/// Ordinary payments per customer and day.
const PAYMENTS_PER_DAY: f64 = 2.5;
/// Frauds begin this often for each thousand customers.
const PLOTS_PER_THOUSAND_PER_DAY: f64 = 2.2;

impl Stream {
    /// Starts on a Monday morning.
    pub(super) fn new(world: World, random: Random) -> Self {
        // 2026-03-02T06:00:00Z
        let start = Time(1_772_431_200 * SECOND);
        let pace = DAY as f64 / (world.customers.len() as f64 * PAYMENTS_PER_DAY);
        Self {
            world,
            random,
            now: start,
            pace,
            next_id: 1,
            bound: BinaryHeap::with_capacity(1 << 16),
            results: VecDeque::with_capacity(1 << 12),
            next_plot: start,
            cloned: Vec::new(),
        }
    }

    /// Simulated time.
    pub(super) fn now(&self) -> Time {
        self.now
    }

    /// The next thing to tell, and its event time.
    pub(super) fn next(&mut self) -> (Time, Happening) {
        if let Some(result) = self.results.pop_front() {
            return result;
        }
        while self.now >= self.next_plot {
            self.plot();
        }
        if let Some(Reverse((time, ..))) = self.bound.peek()
            && *time <= self.now
            && let Some(Reverse((time, _, happening))) = self.bound.pop()
        {
            return (time, happening);
        }
        let hour = (self.now.0.rem_euclid(DAY) / HOUR) as usize;
        self.now.0 += self.random.wait(self.pace / RHYTHM[hour]) as i64 + 1;
        let payment = self.ordinary();
        (payment.time, Happening::Payment(payment))
    }

    /// What the world makes of a verdict.
    pub(super) fn answer(&mut self, payment: &Payment, action: Action) {
        let stopped = match action {
            Action::Block => true,
            Action::Challenge | Action::Review => payment.fraud.is_some() || self.random.chance(0.03),
            Action::None | Action::Allow => false,
        };
        let issuer_declines = match payment.fraud {
            Some(Fraud::CardTesting) => 0.6,
            Some(Fraud::StolenCard) => 0.3,
            Some(_) => 0.08,
            None => 0.015,
        };
        let approved = !stopped && !self.random.chance(issuer_declines);
        let time = Time(payment.time.0 + self.random.between(SECOND / 2, 3 * SECOND));
        self.results.push_back((time, Happening::Result { payment: *payment, approved, by_risk: stopped }));
        if payment.fraud.is_some() {
            let reported = Time(payment.time.0 + self.random.between(8 * HOUR, 40 * HOUR));
            self.bind(reported, Happening::Label { payment: *payment });
        }
    }

    fn bind(&mut self, time: Time, happening: Happening) {
        let order = self.fresh_id();
        self.bound.push(Reverse((time, order, happening)));
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A payment as its customer usually makes them (or, at a cloned terminal, perhaps a thief).
    fn ordinary(&mut self) -> Payment {
        let id = self.fresh_id();
        let who = self.random.below(self.world.customers.len());
        let random = &mut self.random;
        let customer = &self.world.customers[who];
        let habitual = !random.chance(0.08);
        let shop_number = if habitual { *random.pick(&customer.shops) } else { self.world.any_shop(random) };
        let shop = &self.world.shops[shop_number as usize];
        let cloned = self.cloned.iter().any(|(cloned, _)| *cloned == shop_number);
        let fraud = (cloned && random.chance(0.5)).then_some(Fraud::Terminal);
        let channel = match shop.online {
            true => Channel::Ecom,
            false if random.chance(0.06) => Channel::Atm,
            false => Channel::Pos,
        };
        let travelling = random.chance(0.02);
        let place = match channel {
            Channel::Ecom => customer.home,
            _ if travelling => random.below(self.world.places.len()) as u32,
            _ => shop.place,
        };
        Payment {
            time: self.now,
            id,
            card: customer.card,
            account: customer.account,
            device: (channel == Channel::Ecom).then_some(customer.device),
            shop: shop.key,
            place: self.world.places[place as usize],
            cents: (random.amount(customer.median * shop.price, 0.5) as i64).clamp(100, 2_000_000),
            channel,
            authenticated: channel == Channel::Ecom && random.chance(0.7),
            fraud,
        }
    }

    /// Begins one fraud and says when the next begins.
    fn plot(&mut self) {
        let mean = DAY as f64 / (PLOTS_PER_THOUSAND_PER_DAY * self.world.customers.len() as f64 / 1_000.0);
        self.next_plot.0 += self.random.wait(mean) as i64 + 1;
        let now = self.now;
        self.cloned.retain(|(_, until)| *until > now);
        let victim = self.random.below(self.world.customers.len());
        match self.random.below(100) {
            0..55 => self.stolen_card(victim),
            55..63 => self.card_testing(),
            63..73 => {
                let shop = self.world.any_shop(&mut self.random);
                self.cloned.push((shop, Time(now.0 + 36 * HOUR)));
            }
            _ => self.takeover(victim),
        }
    }

    fn stolen_card(&mut self, victim: usize) {
        let mut time = self.now;
        for _ in 0..self.random.between(5, 11) {
            time.0 += self.random.wait((20 * MINUTE) as f64) as i64 + MINUTE;
            let number = self.world.any_shop(&mut self.random);
            let random = &mut self.random;
            let (customer, shop) = (&self.world.customers[victim], &self.world.shops[number as usize]);
            let payment = Payment {
                cents: (random.amount(customer.median * 5.0, 0.5) as i64).clamp(5_000, 2_000_000),
                channel: if shop.online { Channel::Ecom } else { Channel::Pos },
                place: self.world.places[shop.place as usize],
                shop: shop.key,
                authenticated: false,
                ..blank(customer, time, Fraud::StolenCard)
            };
            self.bind_payment(payment);
        }
    }

    fn card_testing(&mut self) {
        let shop = self.world.online_shop(&mut self.random);
        let device = Key([self.random.word(), self.random.word()]);
        let mut time = self.now;
        for _ in 0..self.random.between(30, 80) {
            time.0 += self.random.wait((8 * SECOND) as f64) as i64 + SECOND;
            let victim = self.random.below(self.world.customers.len());
            let random = &mut self.random;
            let (customer, shop) = (&self.world.customers[victim], &self.world.shops[shop as usize]);
            let payment = Payment {
                cents: random.between(50, 250),
                channel: Channel::Ecom,
                device: Some(device),
                place: self.world.places[random.below(self.world.places.len())],
                shop: shop.key,
                authenticated: false,
                ..blank(customer, time, Fraud::CardTesting)
            };
            self.bind_payment(payment);
        }
    }

    fn takeover(&mut self, victim: usize) {
        let device = Key([self.random.word(), self.random.word()]);
        let account = self.world.customers[victim].account;
        let id = self.fresh_id();
        let mut time = Time(self.now.0 + 1);
        self.bind(time, Happening::PasswordChange { id, account, device });
        for _ in 0..self.random.between(2, 5) {
            time.0 += self.random.wait((7 * MINUTE) as f64) as i64 + MINUTE;
            let number = self.world.online_shop(&mut self.random);
            let random = &mut self.random;
            let (customer, shop) = (&self.world.customers[victim], &self.world.shops[number as usize]);
            let payment = Payment {
                cents: random.between(30_000, 150_000),
                channel: Channel::Ecom,
                device: Some(device),
                place: self.world.places[customer.home as usize],
                shop: shop.key,
                authenticated: true,
                ..blank(customer, time, Fraud::Takeover)
            };
            self.bind_payment(payment);
        }
        // Honest people change passwords too.
        for _ in 0..12 {
            let someone = self.random.below(self.world.customers.len());
            let time = Time(self.now.0 + self.random.between(0, 2 * HOUR));
            let (account, device) =
                (self.world.customers[someone].account, self.world.customers[someone].device);
            let id = self.fresh_id();
            self.bind(time, Happening::PasswordChange { id, account, device });
        }
    }

    fn bind_payment(&mut self, payment: Payment) {
        let id = self.fresh_id();
        self.bind(payment.time, Happening::Payment(Payment { id, ..payment }));
    }
}

/// A fraudulent payment with the victim's identity and everything else still to be said.
fn blank(victim: &Customer, time: Time, fraud: Fraud) -> Payment {
    Payment {
        time,
        id: 0,
        card: victim.card,
        account: victim.account,
        device: None,
        shop: Key::default(),
        place: Key::default(),
        cents: 0,
        channel: Channel::Pos,
        authenticated: false,
        fraud: Some(fraud),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Tokenizer;

    fn stream(seed: u64) -> Stream {
        let mut random = Random::new(seed);
        let world = World::new(2_000, &mut random, &Tokenizer::default());
        Stream::new(world, random)
    }

    #[test]
    fn the_same_seed_gives_the_same_city() {
        let (mut one, mut two) = (stream(7), stream(7));
        for _ in 0..20_000 {
            assert_eq!(one.next(), two.next());
        }
    }

    #[test]
    fn every_shape_of_fraud_happens_and_stays_rare() {
        let mut stream = stream(11);
        let (mut payments, mut frauds) = (0, [0; 4]);
        while payments < 60_000 {
            let (time, happening) = stream.next();
            if let Happening::Payment(payment) = happening {
                assert_eq!(time, payment.time);
                payments += 1;
                if let Some(fraud) = payment.fraud {
                    frauds[fraud as usize] += 1;
                }
                stream.answer(&payment, Action::Allow);
            }
        }
        assert!(frauds.iter().all(|count| *count > 20), "{frauds:?}");
        let share = f64::from(frauds.iter().sum::<i32>()) / f64::from(payments);
        assert!((0.002..0.05).contains(&share), "{share}");
    }

    #[test]
    fn every_payment_gets_one_result_and_every_fraud_one_label() {
        let mut stream = stream(3);
        let (mut asked, mut results, mut frauds, mut labels) = (0, 0, 0, 0);
        for _ in 0..150_000 {
            match stream.next().1 {
                Happening::Payment(payment) => {
                    asked += 1;
                    frauds += i32::from(payment.fraud.is_some());
                    stream.answer(&payment, Action::Review);
                }
                Happening::Result { payment, approved, by_risk } => {
                    results += 1;
                    assert!(payment.fraud.is_none() || (!approved && by_risk));
                }
                Happening::Label { .. } => labels += 1,
                Happening::PasswordChange { .. } => {}
            }
        }
        assert!(asked - results <= 1);
        assert!(labels > 0 && labels <= frauds);
    }
}
