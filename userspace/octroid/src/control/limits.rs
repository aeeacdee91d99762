//! How much one client may ask: connections per user, requests per second and connection.
//!
//! Pure: time is an argument. A client beyond its rate is not refused but left waiting, which costs nothing here and
//! needs no code there. Root's connections have places of their own, beside everybody else's: whatever other users do,
//! root can look, and put the daemon down.
use std::{collections::BTreeMap, time::Duration};

/// Connections of one user, root as well.
pub const MAX_CONNECTIONS_PER_USER: usize = 64;

/// Connections of all users but root.
pub const MAX_CONNECTIONS: usize = 1024;

/// Requests of one connection in a second, and at once after a second of silence.
pub const REQUESTS_PER_SECOND: u32 = 100;

/// The user whose places nobody else can take.
const ROOT: u32 = 0;

/// Counts connections by user.
#[derive(Debug, Default)]
pub struct Users(BTreeMap<u32, usize>);

/// Why nobody else is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// This user has [`MAX_CONNECTIONS_PER_USER`].
    User,
    /// Users other than root have [`MAX_CONNECTIONS`].
    All,
}

/// One connection's allowance: a bucket of requests.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// When the bucket would be full: a request moves it one interval ahead.
    full_at: Duration,
}

/// What one request costs.
const INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / REQUESTS_PER_SECOND as u64);
/// How far ahead `full_at` may lie: a whole bucket.
const BUCKET: Duration = Duration::from_secs(1);

impl Users {
    /// Lets one more connection of `uid` in.
    ///
    /// # Errors
    /// There are too many.
    pub fn enter(&mut self, uid: u32) -> Result<(), Full> {
        if uid != ROOT && MAX_CONNECTIONS <= self.of_others() {
            return Err(Full::All);
        }
        let count = self.0.entry(uid).or_default();
        if MAX_CONNECTIONS_PER_USER <= *count {
            return Err(Full::User);
        }
        *count += 1;
        Ok(())
    }

    fn of_others(&self) -> usize {
        self.0.iter().filter(|(uid, _)| **uid != ROOT).map(|(_, count)| count).sum()
    }

    /// A connection of `uid` is gone.
    pub fn leave(&mut self, uid: u32) {
        if let Some(count) = self.0.get_mut(&uid) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&uid);
            }
        }
    }
}

impl Allowance {
    /// A full bucket.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { full_at: now }
    }

    /// When the next request may be taken: now or later.
    #[must_use]
    pub fn open_at(&self, now: Duration) -> Duration {
        self.full_at(now).saturating_sub(BUCKET - INTERVAL).max(now)
    }

    /// Takes a request.
    pub fn spend(&mut self, now: Duration) {
        self.full_at = self.full_at(now) + INTERVAL;
    }

    /// Never more than a whole bucket ahead, which it could only be by a clock that was stepped back.
    fn full_at(&self, now: Duration) -> Duration {
        self.full_at.clamp(now, now + BUCKET)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn f13_the_sixty_fifth_connection_waits_outside() {
        let mut users = Users::default();
        for _ in 0..MAX_CONNECTIONS_PER_USER {
            users.enter(7).unwrap();
        }
        assert_eq!(users.enter(7), Err(Full::User));
        users.enter(8).unwrap();
        users.leave(7);
        users.enter(7).unwrap();
    }

    #[test]
    fn f13_all_users_together_have_a_limit() {
        let mut users = Users::default();
        for uid in many() {
            (0..MAX_CONNECTIONS_PER_USER).for_each(|_| users.enter(uid).unwrap());
        }
        assert_eq!(users.enter(9999), Err(Full::All));
        users.leave(1003);
        assert_eq!(users.enter(9999), Ok(()));
    }

    /// As many users as together have every place there is for them.
    fn many() -> impl Iterator<Item = u32> {
        (1000..).take(MAX_CONNECTIONS / MAX_CONNECTIONS_PER_USER)
    }

    #[test]
    fn f13_idle_clients_of_many_users_leave_roots_places_to_root() {
        let mut users = Users::default();
        let idle: Vec<u32> = many().flat_map(|uid| [uid; MAX_CONNECTIONS_PER_USER]).collect();
        idle.iter().for_each(|&uid| users.enter(uid).unwrap());
        assert_eq!(users.enter(9999), Err(Full::All));
        (0..MAX_CONNECTIONS_PER_USER).for_each(|_| users.enter(ROOT).unwrap());
        assert_eq!(users.enter(ROOT), Err(Full::User), "root has a limit as well");
        // And root's connections cost others nothing.
        users.leave(1000);
        assert_eq!(users.enter(9999), Ok(()));
        users.leave(ROOT);
        assert_eq!((users.enter(9999), users.enter(ROOT)), (Err(Full::All), Ok(())));
    }

    #[test]
    fn f13_a_hundred_at_once_and_then_one_each_ten_milliseconds() {
        let mut allowance = Allowance::new(Duration::from_secs(5));
        let mut now = Duration::from_secs(5);
        for _ in 0..REQUESTS_PER_SECOND {
            assert_eq!(allowance.open_at(now), now);
            allowance.spend(now);
        }
        for _ in 0..3 {
            let open = allowance.open_at(now);
            assert_eq!(open - now, INTERVAL);
            now = open;
            allowance.spend(now);
        }
    }

    #[test]
    fn f17_a_stepped_clock_lets_nobody_ask_faster_or_wait_longer() {
        const HOUR: Duration = Duration::from_secs(3600);
        let mut allowance = Allowance::new(HOUR);
        let mut at_once = |now| {
            let requests = (0..10_000).take_while(|_| {
                let open = allowance.open_at(now) == now;
                if open {
                    allowance.spend(now);
                }
                open
            });
            let taken = requests.count();
            assert_eq!(allowance.open_at(now) - now, INTERVAL, "however far the clock was stepped");
            taken
        };
        // Used up, an hour later, an hour earlier than that, and an hour before everything.
        let taken = [HOUR, HOUR * 2, HOUR, Duration::ZERO].map(&mut at_once);
        assert_eq!(taken, [100, 100, 0, 0]);
    }

    proptest! {
        #[test]
        fn f13_never_more_than_the_rate(pauses in prop::collection::vec(0_u64..30_000_000, 1..400)) {
            let (mut now, mut taken) = (Duration::ZERO, 0_u32);
            let mut allowance = Allowance::new(now);
            for pause in pauses {
                now += Duration::from_nanos(pause);
                if allowance.open_at(now) == now {
                    allowance.spend(now);
                    taken += 1;
                }
                let most = now.as_secs_f64() * f64::from(REQUESTS_PER_SECOND) + f64::from(REQUESTS_PER_SECOND);
                prop_assert!(f64::from(taken) <= most);
            }
        }
    }
}
