//! What the cold side asks of the engine thread, and how it is answered: between two bursts, one thing at a time.
//!
//! Everything that an ask needs was made by whoever asks, and everything that is left of it goes back to be freed there. The
//! engine thread looks at one flag a round.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use tollgate_ring::Bell;

use crate::engine::Successor;
use crate::engine::orders::Order;
use crate::engine::units::Time;
use crate::hot_loop::Deadlines;
use crate::journal::Epoch;

/// Something to be done between two bursts.
pub(crate) enum Ask {
    /// Go on with another program.
    TakeOver(Box<TakeOver>),
    /// Obey an order.
    Order(Box<Given>),
}

/// A program to go on with.
pub(crate) struct TakeOver {
    pub(crate) successor: Successor,
    pub(crate) deadlines: Deadlines,
    /// What is journaled.
    pub(crate) epoch: Epoch,
}

/// An order, when it was given, and what is noted of it.
pub(crate) struct Given {
    pub(crate) order: Order,
    pub(crate) at: Time,
    pub(crate) note: String,
}

/// What became of an ask, and what is left of it.
pub(crate) struct Answer {
    pub(crate) ask: Ask,
    /// Whether it was done.
    pub(crate) done: bool,
    /// The last decision before.
    pub(crate) seq: u64,
}

/// The end of whoever asks.
pub(crate) struct Asking {
    asks: Sender<Ask>,
    answers: Receiver<Answer>,
    asked: Arc<AtomicBool>,
    bell: Bell,
    /// Whether an ask has not been answered in time. Until it is, nothing else is asked.
    owed: bool,
    patience: Duration,
}

/// The engine thread's end.
pub(crate) struct Asked {
    asks: Receiver<Ask>,
    answers: Sender<Answer>,
    asked: Arc<AtomicBool>,
    /// An ask that has to wait for room in the journal.
    waiting: Option<Ask>,
}

/// How long an answer may take: the engine thread looks several times a second, unless the journal is full.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Both ends.
pub(crate) fn channel(bell: Bell) -> (Asking, Asked) {
    let ((asks, to_engine), (answers, from_engine)) = (bounded(1), bounded(1));
    let asked = Arc::new(AtomicBool::new(false));
    let asking = Asking {
        asks,
        answers: from_engine,
        asked: Arc::clone(&asked),
        bell,
        owed: false,
        patience: ANSWER_MAX,
    };
    (asking, Asked { asks: to_engine, answers, asked, waiting: None })
}

impl Asking {
    /// Asks, and waits for the answer; `None` when the engine thread is gone or does not answer in time. It may do what is
    /// asked all the same, later.
    pub(crate) fn ask(&mut self, ask: Ask) -> Option<Answer> {
        if self.owed {
            return None;
        }
        self.asks.try_send(ask).ok()?;
        self.asked.store(true, Ordering::Release);
        self.bell.ring();
        let answer = self.answers.recv_timeout(self.patience).ok();
        self.owed = answer.is_none();
        answer
    }

    /// The answer that is still owed, if it has come: a journal without room puts an ask off for as long.
    pub(crate) fn late(&mut self) -> Option<Answer> {
        let answer = self.answers.try_recv().ok()?;
        self.owed = false;
        Some(answer)
    }

    /// Whether an answer is still owed.
    pub(crate) fn is_owed(&self) -> bool {
        self.owed
    }
}

impl Asked {
    /// What is asked, if anything.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Ask> {
        if !self.asked.load(Ordering::Relaxed) {
            return None;
        }
        self.take()
    }

    #[cold]
    fn take(&mut self) -> Option<Ask> {
        if let Some(ask) = self.waiting.take() {
            return Some(ask);
        }
        self.asked.store(false, Ordering::Release);
        self.asks.try_recv().ok()
    }

    /// Keeps an ask for the next round.
    pub(crate) fn put_off(&mut self, ask: Ask) {
        self.waiting = Some(ask);
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Answers. If nobody waits any more, what is left is freed here.
    pub(crate) fn answer(&self, answer: Answer) {
        let _ = self.answers.try_send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::units::Action;
    use tollgate_ring::Parker;

    fn order(number: i64) -> Ask {
        let order = Order::KillAll { action: Action::Allow, until: Time(number) };
        Ask::Order(Box::new(Given { order, at: Time(number), note: String::new() }))
    }

    fn at(ask: &Ask) -> i64 {
        let Ask::Order(given) = ask else { panic!("an order was asked") };
        given.at.0
    }

    /// An answer that comes too late is that of its own ask, and nothing is asked before it has come.
    #[test]
    fn a_late_answer_is_not_taken_for_another() {
        let (mut asking, mut asked) = channel(Parker::new().bell());
        asking.patience = Duration::from_millis(1);
        assert!(asked.next().is_none());
        assert!(asking.ask(order(1)).is_none() && asking.is_owed());
        let first = asked.next().expect("it is asked");
        asked.put_off(first);
        assert!(asking.ask(order(2)).is_none() && asking.late().is_none());
        let first = asked.next().expect("it was put off");
        asked.answer(Answer { ask: first, done: true, seq: 7 });
        assert!(asking.ask(order(3)).is_none(), "the first answer is owed until it was looked at");
        let late = asking.late().expect("it has come");
        assert_eq!((at(&late.ask), late.done, late.seq, asking.is_owed()), (1, true, 7, false));
        assert!(asked.next().is_none(), "the others were never asked");
    }
}
