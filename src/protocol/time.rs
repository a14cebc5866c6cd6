//! Time as the machines see it: a number that the host passes in.

use core::{fmt, time::Duration};

/// A point in time: milliseconds since an origin that the host picks.
///
/// No machine of this crate reads a clock. A client's host may start anywhere, as long as time never goes back. A
/// server's host counts from the Unix epoch, because expiry has to survive a restart.
///
/// ```
/// use std::time::Duration;
/// use tidewire::protocol::Timestamp;
///
/// let now = Timestamp::from_millis(1_000);
/// assert_eq!(now + Duration::from_secs(2), Timestamp::from_millis(3_000));
/// assert_eq!(Timestamp::from_millis(3_000).since(now), Duration::from_secs(2));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The point `millis` milliseconds after the origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the origin.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero if `earlier` is in fact later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl core::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        // To saturate here would take arithmetic of 128 bits; half of all milliseconds there are is the end of time, too.
        let millis = duration.as_secs().min(u64::MAX / 2_000) * 1_000 + u64::from(duration.subsec_millis());
        Self(self.0.saturating_add(millis))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}ms", self.0)
    }
}
