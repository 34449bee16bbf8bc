//! A table, asked for piece by piece: each question begins behind the last object of the answer before.

use crate::{
    ber::Oid,
    message::{Binding, Response, Value, bulk_request},
};

/// Objects in one answer: what fits into an Ethernet frame without fragments for the tables of a switch.
const PIECE: u8 = 25;

/// More rows than the largest switch has; who answers for ever must not fill the memory.
const MOST: usize = 65_536;

/// A table being read.
#[derive(Debug, Clone)]
pub struct Walk {
    root: Oid,
    last: Oid,
    rows: usize,
}

/// What follows from an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// these rows, and there may be more: ask again
    More(Vec<Binding>),
    /// these rows, and no more
    Done(Vec<Binding>),
}

impl Walk {
    /// The table under a name.
    pub fn of(root: &Oid) -> Self {
        Self { root: root.clone(), last: root.clone(), rows: 0 }
    }

    /// The next question.
    pub fn request(&self, community: &[u8], request: i32) -> Vec<u8> {
        bulk_request(community, request, &self.last, PIECE)
    }

    /// Takes in the answer to it. An agent whose names do not grow would be asked for ever: its table ends there.
    pub fn take(&mut self, response: Response) -> Step {
        let mut rows = Vec::new();
        if response.error != 0 || response.bindings.is_empty() {
            return Step::Done(rows);
        }
        for binding in response.bindings {
            let ended = binding.value == Value::End
                || self.root.rest(&binding.name).is_none()
                || binding.name <= self.last
                || self.rows == MOST;
            if ended {
                return Step::Done(rows);
            }
            self.last = binding.name.clone();
            self.rows += 1;
            rows.push(binding);
        }
        Step::More(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(parts: &[u32]) -> Binding {
        Binding { name: Oid::from(parts), value: Value::Integer(1) }
    }

    fn answer(bindings: Vec<Binding>) -> Response {
        Response { request: 1, error: 0, bindings }
    }

    #[test]
    fn a_table_ends_where_the_next_begins() {
        let mut walk = Walk::of(&Oid(vec![1, 3, 5]));
        let rows = vec![row(&[1, 3, 5, 1]), row(&[1, 3, 5, 2])];
        assert_eq!(walk.take(answer(rows.clone())), Step::More(rows));
        let step = walk.take(answer(vec![row(&[1, 3, 5, 9]), row(&[1, 3, 6, 1])]));
        assert_eq!(step, Step::Done(vec![row(&[1, 3, 5, 9])]));
    }

    #[test]
    fn an_agent_that_goes_round_in_circles_is_left() {
        let mut walk = Walk::of(&Oid(vec![1, 3]));
        walk.take(answer(vec![row(&[1, 3, 7])]));
        assert_eq!(walk.take(answer(vec![row(&[1, 3, 7])])), Step::Done(Vec::new()));
        assert_eq!(walk.take(answer(vec![row(&[1, 3, 2])])), Step::Done(Vec::new()));
        let refused = Response { request: 1, error: 5, bindings: vec![row(&[1, 3, 8])] };
        assert_eq!(walk.take(refused), Step::Done(Vec::new()));
        assert_eq!(walk.take(answer(Vec::new())), Step::Done(Vec::new()));
    }
}
