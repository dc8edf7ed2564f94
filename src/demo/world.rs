//! The simulated city: customers with cards, accounts and devices, shops, places, and who buys where.

use super::random::Random;
use crate::engine::units::Key;
use crate::token::Tokenizer;

/// Shops that a customer usually goes to.
pub(super) const HABITS: usize = 6;

/// Someone who pays.
pub(super) struct Customer {
    pub(super) card: Key,
    pub(super) account: Key,
    pub(super) device: Key,
    pub(super) home: u32,
    /// Median payment, in cents.
    pub(super) median: f64,
    pub(super) shops: [u32; HABITS],
}

/// Somewhere to pay.
pub(super) struct Shop {
    pub(super) key: Key,
    pub(super) place: u32,
    pub(super) online: bool,
    /// How dear it is: multiplies the customer's median.
    pub(super) price: f64,
}

/// Everyone and everything.
pub(super) struct World {
    pub(super) customers: Vec<Customer>,
    pub(super) shops: Vec<Shop>,
    pub(super) places: Vec<Key>,
    online: Vec<u32>,
}

impl World {
    /// A world of this many customers, with one shop to every eight and one place to every two hundred.
    pub(super) fn new(customers: usize, random: &mut Random, tokens: &Tokenizer) -> Self {
        let key = |kind: &str, number: usize| {
            // A prefix letter: the names are never digits alone, so no name can look like a card number.
            tokens.key(kind, &format!("{kind}-{number}")).unwrap_or_default()
        };
        let places: Vec<Key> = (0..(customers / 200).max(4)).map(|n| key("place", n)).collect();
        let shops: Vec<Shop> = (0..(customers / 8).max(16))
            .map(|n| Shop {
                key: key("merchant", n),
                place: random.below(places.len()) as u32,
                online: random.chance(0.25),
                price: random.amount(1.0, 0.5),
            })
            .collect();
        let of_place = |place: u32, online: bool| -> Vec<u32> {
            let fits = |shop: &Shop| shop.online == online && (online || shop.place == place);
            shops.iter().enumerate().filter(|(_, shop)| fits(shop)).map(|(n, _)| n as u32).collect()
        };
        let online = of_place(0, true);
        let local: Vec<Vec<u32>> = (0..places.len()).map(|place| of_place(place as u32, false)).collect();
        let customers = (0..customers)
            .map(|n| {
                let home = random.below(places.len()) as u32;
                let mut shops = [0; HABITS];
                for (slot, shop) in shops.iter_mut().enumerate() {
                    let near = &local[home as usize];
                    let choice = if slot < 2 || near.is_empty() { &online } else { near };
                    *shop = if choice.is_empty() { 0 } else { *random.pick(choice) };
                }
                Customer {
                    card: key("card", n),
                    account: key("account", n),
                    device: key("device", n),
                    home,
                    median: random.amount(2_200.0, 0.6),
                    shops,
                }
            })
            .collect();
        Self { customers, shops, places, online }
    }

    /// Any shop, anywhere.
    pub(super) fn any_shop(&self, random: &mut Random) -> u32 {
        random.below(self.shops.len()) as u32
    }

    /// An online shop, when there is one.
    pub(super) fn online_shop(&self, random: &mut Random) -> u32 {
        if self.online.is_empty() { self.any_shop(random) } else { *random.pick(&self.online) }
    }
}

/// How busy each hour of the day is; the mean is 1.
pub(super) const RHYTHM: [f64; 24] = [
    0.25, 0.15, 0.10, 0.08, 0.10, 0.20, 0.45, 0.80, 1.10, 1.25, 1.35, 1.55, 1.75, 1.50, 1.30, 1.30, 1.45,
    1.75, 1.90, 1.75, 1.45, 1.15, 0.77, 0.55,
];
