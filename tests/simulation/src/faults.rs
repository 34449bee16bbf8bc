//! What may go wrong in a run by chance, and how often. Zero is never.

use seeded::Numbers;

/// How often each fault strikes: once in so many chances.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// the daemon dies between two outputs of a step
    pub crash: u64,
    /// the reply of an effect never comes: the core hears that its outcome is unknown
    pub lost_reply: u64,
    /// the reply of an effect comes twice, the second time much later
    pub doubled_reply: u64,
    /// the reply of an effect takes seconds, so that later ones overtake it
    pub slow_reply: u64,
    /// a request never arrives
    pub lost_request: u64,
    /// a request on its way when the daemon dies arrives only after the next one has started
    pub late_request: u64,
    /// a machine loses power when it changes its stage
    pub power_loss: u64,
    /// a machine loses power at the worst moment: a config, an installation or a bootstrap was just taken
    pub worst_moment: u64,
    /// a machine that gets power back gets another machine's old address from the pool
    pub swapped_address: u64,
    /// after this time, in milliseconds, nothing fails by chance any more, so that every run can end
    pub until: u64,
}

impl Faults {
    /// Each by its own luck: never, as often as it is, or up to three times as seldom.
    pub(crate) fn scale(&mut self, random: &mut Numbers) {
        for rate in [
            &mut self.crash,
            &mut self.lost_reply,
            &mut self.doubled_reply,
            &mut self.slow_reply,
            &mut self.lost_request,
            &mut self.late_request,
        ] {
            draw(rate, random);
        }
    }

    /// The same of machines' power.
    pub(crate) fn scale_power(&mut self, random: &mut Numbers) {
        for rate in [&mut self.power_loss, &mut self.worst_moment, &mut self.swapped_address] {
            draw(rate, random);
        }
    }

    /// Everything goes well.
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything goes wrong for the first two minutes.
    pub fn all() -> Self {
        Self {
            crash: 25,
            lost_reply: 12,
            doubled_reply: 8,
            slow_reply: 20,
            lost_request: 12,
            late_request: 3,
            power_loss: 30,
            worst_moment: 6,
            swapped_address: 2,
            until: 120_000,
        }
    }
}

fn draw(rate: &mut u64, random: &mut Numbers) {
    *rate = if random.one_in(3) { 0 } else { *rate * (1 + random.draw() % 3) };
}
