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
    let asking = Asking { asks, answers: from_engine, asked: Arc::clone(&asked), bell };
    (asking, Asked { asks: to_engine, answers, asked, waiting: None })
}

impl Asking {
    /// Asks, and waits for the answer; `None` when the engine thread is gone or does not answer.
    pub(crate) fn ask(&self, ask: Ask) -> Option<Answer> {
        // What was answered too late for the ask before is of no interest any more.
        while self.answers.try_recv().is_ok() {}
        self.asks.try_send(ask).ok()?;
        self.asked.store(true, Ordering::Release);
        self.bell.ring();
        self.answers.recv_timeout(ANSWER_MAX).ok()
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
