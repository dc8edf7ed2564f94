//! The fixed table of requests behind a session: everything that the server has not answered yet.
//!
//! A request's place is its ticket modulo the number of places, so a verdict finds it without hashing. Every place is in
//! one of three lists (vacant, open, settled), and those in use are in a fourth, by ticket, which is the order of
//! submission. All lists are threaded through the places by index: nothing is allocated and nothing is moved.

/// No place.
const NIL: u32 = u32::MAX;

/// One place.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// The request's number on the wire. Meaningless in a vacant place.
    pub(super) ticket: u64,
    /// The caller's name for it.
    pub(super) req_id: u64,
    pub(super) t_intended: u64,
    /// When the caller gets an answer at the latest.
    pub(super) due_ns: u64,
    pub(super) flags: u32,
    pub(super) kind: u16,
    len: u16,
    state: State,
    /// Whether any connection has carried it.
    was_sent: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Vacant,
    /// The caller waits for an answer.
    Open,
    /// The caller has the fallback; the server has not answered.
    Settled,
}

/// What the caller submits, but for its payload.
pub(super) struct Submission {
    pub(super) kind: u16,
    pub(super) flags: u32,
    pub(super) req_id: u64,
    pub(super) t_intended: u64,
    pub(super) due_ns: u64,
}

pub(super) struct Table {
    entries: Box<[Entry]>,
    /// A private copy of each payload: `words` for each place.
    payloads: Box<[u64]>,
    words: usize,
    by_state: Links,
    /// First in, first out, so that tickets run on without a gap while answers come in order.
    vacant: List,
    /// INVARIANT: sorted by due time, then by ticket; the head is due first.
    open: List,
    /// In the order of settling.
    settled: List,
    by_ticket: Links,
    /// INVARIANT: every place not vacant, by ticket.
    live: List,
    /// The first of `live` that the present connection has not carried; all behind it are unsent too.
    unsent: u32,
    next_ticket: u64,
    open_count: u32,
    live_count: u32,
}

impl Table {
    /// `places` is a power of two.
    pub(super) fn new(places: u32, words: usize) -> Table {
        let entry = Entry {
            ticket: 0,
            req_id: 0,
            t_intended: 0,
            due_ns: 0,
            flags: 0,
            kind: 0,
            len: 0,
            state: State::Vacant,
            was_sent: false,
        };
        let count = places as usize;
        let mut table = Table {
            entries: vec![entry; count].into(),
            // Not zeros: those would be pages that the system provides at first touch, which is the first requests.
            payloads: vec![u64::MAX; count * words].into(),
            words,
            by_state: Links::new(count),
            vacant: List::EMPTY,
            open: List::EMPTY,
            settled: List::EMPTY,
            by_ticket: Links::new(count),
            live: List::EMPTY,
            unsent: NIL,
            next_ticket: 0,
            open_count: 0,
            live_count: 0,
        };
        for place in 0..places {
            table.by_state.push(&mut table.vacant, place);
        }
        table
    }

    /// Requests whose caller waits.
    pub(super) fn open_count(&self) -> u32 {
        self.open_count
    }

    /// Requests that the server has not answered.
    pub(super) fn live_count(&self) -> u32 {
        self.live_count
    }

    pub(super) fn is_full_of_open(&self) -> bool {
        self.open_count as usize == self.entries.len()
    }

    /// Takes a request in; some place must not be open. True: a settled request had to be forgotten for it.
    pub(super) fn add(&mut self, submission: &Submission, payload: &[u64]) -> bool {
        let forgets = self.vacant.head == NIL;
        if forgets {
            self.remove(self.settled.head);
        }
        let place = self.vacant.head;
        self.by_state.remove(&mut self.vacant, place);
        // The next number that belongs to this place. Answers out of order make gaps.
        let gap = u64::from(place).wrapping_sub(self.next_ticket) & (self.entries.len() as u64 - 1);
        let ticket = self.next_ticket.wrapping_add(gap);
        self.next_ticket = ticket.wrapping_add(1);
        let &Submission { kind, flags, req_id, t_intended, due_ns } = submission;
        self.entries[place as usize] = Entry {
            ticket,
            req_id,
            t_intended,
            due_ns,
            flags,
            kind,
            len: payload.len() as u16,
            state: State::Open,
            was_sent: false,
        };
        self.payloads[place as usize * self.words..][..payload.len()].copy_from_slice(payload);
        self.insert_by_due(place);
        self.by_ticket.push(&mut self.live, place);
        if self.unsent == NIL {
            self.unsent = place;
        }
        self.open_count += 1;
        self.live_count += 1;
        forgets
    }

    /// Due times mostly come in order, so the search from the back mostly ends where it begins.
    fn insert_by_due(&mut self, place: u32) {
        let due_ns = self.entries[place as usize].due_ns;
        let mut after = self.open.tail;
        if self.open.head != NIL && due_ns < self.entries[self.open.head as usize].due_ns {
            after = NIL;
        }
        while after != NIL && self.entries[after as usize].due_ns > due_ns {
            after = self.by_state.0[after as usize].prev;
        }
        self.by_state.insert(&mut self.open, after, place);
    }

    /// The place of the request with this ticket, if it is here and the present connection has carried it.
    pub(super) fn find(&self, ticket: u64) -> Option<u32> {
        let place = (ticket & (self.entries.len() as u64 - 1)) as u32;
        let entry = &self.entries[place as usize];
        let unsent = self.unsent != NIL && ticket >= self.entries[self.unsent as usize].ticket;
        (entry.state != State::Vacant && entry.ticket == ticket && !unsent).then_some(place)
    }

    pub(super) fn entry(&self, place: u32) -> &Entry {
        &self.entries[place as usize]
    }

    /// The open request that is due first.
    pub(super) fn first_due(&self) -> Option<u32> {
        (self.open.head != NIL).then_some(self.open.head)
    }

    /// The caller of this open request has its answer; the server has not given its own.
    pub(super) fn settle(&mut self, place: u32) {
        self.by_state.remove(&mut self.open, place);
        self.by_state.push(&mut self.settled, place);
        self.entries[place as usize].state = State::Settled;
        self.open_count -= 1;
    }

    /// Makes the place vacant. True: its request was open.
    pub(super) fn remove(&mut self, place: u32) -> bool {
        let was_open = self.entries[place as usize].state == State::Open;
        self.by_state.remove(if was_open { &mut self.open } else { &mut self.settled }, place);
        self.open_count -= u32::from(was_open);
        self.live_count -= 1;
        if self.unsent == place {
            self.unsent = self.by_ticket.0[place as usize].next;
        }
        self.by_ticket.remove(&mut self.live, place);
        self.by_state.push(&mut self.vacant, place);
        self.entries[place as usize].state = State::Vacant;
        was_open
    }

    /// The next request to send on the present connection, with its payload.
    pub(super) fn next_unsent(&self) -> Option<(&Entry, &[u64])> {
        if self.unsent == NIL {
            return None;
        }
        let entry = &self.entries[self.unsent as usize];
        Some((entry, &self.payloads[self.unsent as usize * self.words..][..usize::from(entry.len)]))
    }

    /// What [`Table::next_unsent`] gave has been sent. True: an earlier connection had carried it already.
    pub(super) fn mark_sent(&mut self) -> bool {
        let place = self.unsent as usize;
        self.unsent = self.by_ticket.0[place].next;
        std::mem::replace(&mut self.entries[place].was_sent, true)
    }

    /// A new connection has carried nothing yet.
    pub(super) fn rewind(&mut self) {
        self.unsent = self.live.head;
    }
}

/// The neighbours of each place in its list.
struct Links(Box<[Link]>);

#[derive(Clone, Copy)]
struct Link {
    prev: u32,
    next: u32,
}

struct List {
    head: u32,
    tail: u32,
}

impl List {
    const EMPTY: List = List { head: NIL, tail: NIL };
}

impl Links {
    fn new(places: usize) -> Links {
        Links(vec![Link { prev: NIL, next: NIL }; places].into())
    }

    fn push(&mut self, list: &mut List, place: u32) {
        self.insert(list, list.tail, place);
    }

    /// Puts a place behind another, or first.
    fn insert(&mut self, list: &mut List, after: u32, place: u32) {
        let next = if after == NIL { list.head } else { self.0[after as usize].next };
        self.0[place as usize] = Link { prev: after, next };
        *self.next_of(list, after) = place;
        *self.prev_of(list, next) = place;
    }

    fn remove(&mut self, list: &mut List, place: u32) {
        let Link { prev, next } = self.0[place as usize];
        *self.next_of(list, prev) = next;
        *self.prev_of(list, next) = prev;
    }

    fn next_of<'a>(&'a mut self, list: &'a mut List, place: u32) -> &'a mut u32 {
        if place == NIL { &mut list.head } else { &mut self.0[place as usize].next }
    }

    fn prev_of<'a>(&'a mut self, list: &'a mut List, place: u32) -> &'a mut u32 {
        if place == NIL { &mut list.tail } else { &mut self.0[place as usize].prev }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn submission(req_id: u64, due_ns: u64) -> Submission {
        Submission { kind: 1, flags: 0, req_id, t_intended: 0, due_ns }
    }

    /// Sends all that is unsent and says which tickets that was.
    fn send_all(table: &mut Table) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some((entry, _)) = table.next_unsent() {
            sent.push(entry.ticket);
            table.mark_sent();
        }
        sent
    }

    #[test]
    fn tickets_run_on_while_answers_come_in_order() {
        let mut table = Table::new(4, 12);
        for ticket in 0..100 {
            assert!(!table.add(&submission(7, 0), &[ticket]));
            assert_eq!(send_all(&mut table), [ticket]);
            let place = table.find(ticket).unwrap();
            assert_eq!((place, table.entry(place).req_id), (ticket as u32 % 4, 7));
            assert!(table.remove(place));
            assert_eq!(table.find(ticket), None);
        }
    }

    #[test]
    fn a_ticket_is_compared_in_full_and_unsent_ones_are_not_found() {
        let mut table = Table::new(2, 12);
        table.add(&submission(0, 0), &[]);
        assert_eq!(table.find(0), None, "not sent");
        send_all(&mut table);
        assert_eq!(table.find(0), Some(0));
        for ticket in [1, 2, 4, u64::MAX, u64::MAX - 1] {
            assert_eq!(table.find(ticket), None);
        }
        table.rewind();
        assert_eq!(table.find(0), None, "not sent on this connection");
    }

    #[test]
    fn what_was_settled_first_is_forgotten_first() {
        let mut table = Table::new(4, 12);
        for n in 0..4 {
            table.add(&submission(n, 10 - n), &[]);
        }
        // By due time: 3, 2, 1, 0.
        for expected in [3, 2] {
            let place = table.first_due().unwrap();
            assert_eq!(table.entry(place).req_id, expected);
            table.settle(place);
        }
        assert!(table.add(&submission(4, 0), &[]) && table.add(&submission(5, 0), &[]));
        assert!(table.is_full_of_open());
        // Request 4 has the place that 3 had, 5 that of 2, and each the next ticket for it.
        assert_eq!(send_all(&mut table), [0, 1, 7, 10]);
    }

    proptest! {
        /// Against plain vectors: the order of dues, of tickets and of forgetting, under any schedule.
        #[test]
        fn lists_keep_their_orders(steps in proptest::collection::vec((0..5_u8, 0..20_u64), 1..300)) {
            let mut table = Table::new(8, 12);
            // (ticket, due), in order of submission; settled tickets in order of settling.
            let (mut live, mut settled, mut sent) = (Vec::new(), Vec::<u64>::new(), 0);
            for (what, value) in steps {
                match what {
                    0 | 1 if !table.is_full_of_open() => {
                        let forgets = table.add(&submission(value, value), &[value, !value]);
                        prop_assert_eq!(forgets, live.len() == 8);
                        if forgets {
                            let at = live.iter().position(|&(ticket, _)| ticket == settled[0]).unwrap();
                            live.remove(at);
                            settled.remove(0);
                            sent -= usize::from(at < sent);
                        }
                        live.push((table.next_ticket - 1, value));
                        prop_assert!(live.is_sorted());
                    }
                    2 => {
                        let open = live.iter().filter(|(ticket, _)| !settled.contains(ticket));
                        let first = open.min_by_key(|&&(ticket, due)| (due, ticket)).map(|&(ticket, _)| ticket);
                        let place = table.first_due();
                        prop_assert_eq!(place.map(|place| table.entry(place).ticket), first);
                        if let Some(place) = place {
                            table.settle(place);
                            settled.extend(first);
                        }
                    }
                    3 if sent > 0 => {
                        let (ticket, _) = live.remove(value as usize % sent);
                        sent -= 1;
                        let place = table.find(ticket).unwrap();
                        prop_assert_eq!(table.remove(place), !settled.contains(&ticket));
                        settled.retain(|&other| other != ticket);
                    }
                    4 if value == 0 => {
                        table.rewind();
                        sent = 0;
                    }
                    _ => match table.next_unsent() {
                        Some((entry, payload)) => {
                            prop_assert_eq!((entry.ticket, entry.req_id), live[sent]);
                            prop_assert_eq!(payload, [live[sent].1, !live[sent].1]);
                            table.mark_sent();
                            sent += 1;
                        }
                        None => prop_assert_eq!(sent, live.len()),
                    },
                }
                prop_assert_eq!(table.live_count() as usize, live.len());
                prop_assert_eq!(table.open_count() as usize, live.len() - settled.len());
            }
        }
    }
}
