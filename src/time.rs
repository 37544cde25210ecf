//! Deadlines on a monotonic clock. Wall clocks are wrong after power cuts, so none is asked.

use std::time::Duration;

/// A monotonic clock that can also wait. The time it gives counts from its own beginning.
pub trait Clock {
    /// Time since the clock's beginning.
    fn now(&self) -> Duration;
    /// Waits this long.
    fn sleep(&self, time: Duration);
    /// Tells whoever watches what is waited for from now on; nothing any more, when it is empty.
    fn doing(&self, _what: &str) {}
}

/// A point in time on a [`Clock`] past which nothing may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Duration);

impl Deadline {
    /// The deadline `time` from now, however long that is.
    pub fn after(clock: &dyn Clock, time: Duration) -> Self {
        Deadline(clock.now().saturating_add(time))
    }

    /// What is left until the deadline; zero when it has passed.
    pub fn left(&self, clock: &dyn Clock) -> Duration {
        self.0.saturating_sub(clock.now())
    }

    /// Whether the deadline has passed.
    pub fn passed(&self, clock: &dyn Clock) -> bool {
        self.left(clock).is_zero()
    }

    /// The earlier of this deadline and `time` from now.
    pub fn at_most(&self, clock: &dyn Clock, time: Duration) -> Self {
        (*self).min(Deadline::after(clock, time))
    }

    /// The deadline that leaves an equal part of the rest to each of `parts` users.
    pub fn share(&self, clock: &dyn Clock, parts: usize) -> Self {
        let parts = u32::try_from(parts.max(1)).unwrap_or(u32::MAX);
        Deadline::after(clock, self.left(clock) / parts)
    }
}

/// The machine's own monotonic clock.
#[derive(Debug)]
pub struct SystemClock(std::time::Instant);

impl SystemClock {
    /// A clock that begins now.
    pub fn start() -> Self {
        SystemClock(std::time::Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service's own limit may be any number of years.
    #[test]
    fn law_6_a_deadline_may_be_as_far_away_as_a_duration_goes() {
        let clock = SystemClock::start();
        let soon = Deadline::after(&clock, Duration::from_secs(5));
        let never = Deadline::after(&clock, Duration::MAX);
        assert!(never > soon && !never.passed(&clock));
        assert_eq!(soon.at_most(&clock, Duration::MAX), soon);
        assert!(never.share(&clock, 2) > soon);
    }
}
