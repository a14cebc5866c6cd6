//! How many connections there may be, in all and from one address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::http::HeaderMap;

/// Counts who is inside.
#[derive(Debug)]
pub(crate) struct Door {
    connections: usize,
    per_address: usize,
    /// Proxies whose word about where a client is from is taken.
    trusted: Vec<IpAddr>,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// For nobody.
    All,
    /// For no more from this address.
    Address,
}

impl Full {
    /// For logs and metrics.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::All => "connections",
            Self::Address => "connections_per_address",
        }
    }
}

/// The right to be inside; dropped, it makes room for another.
#[derive(Debug)]
pub(crate) struct Pass {
    door: Arc<Door>,
    address: Option<IpAddr>,
}

impl Door {
    /// A door for so many.
    #[must_use]
    pub(crate) fn new(connections: usize, per_address: usize, trusted: Vec<IpAddr>) -> Self {
        Self { connections, per_address, trusted, inside: Mutex::default() }
    }

    /// Where a client is from: the peer or, where that is a trusted proxy, whom it says it speaks for. Of several
    /// names in the header the last is the proxy's own word; those before it are the client's, who may say anything.
    #[must_use]
    pub(crate) fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusted.contains(&peer) {
            return peer;
        }
        let last = headers.get_all("x-forwarded-for").iter().next_back();
        let said = last.and_then(|value| value.to_str().ok()).and_then(|value| value.rsplit(',').next());
        said.and_then(|said| said.trim().parse().ok()).map_or(peer, |said: IpAddr| said.to_canonical())
    }

    /// Lets somebody in.
    ///
    /// # Errors
    /// If there is no room.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Pass, Full> {
        // Programs of this machine, and proxies on it that are not trusted to tell their clients apart.
        let address = (!address.is_loopback()).then(|| house(address));
        let mut inside = self.inside();
        if inside.all >= self.connections {
            return Err(Full::All);
        }
        if let Some(address) = address {
            let count = inside.by_address.entry(address).or_default();
            if *count >= self.per_address {
                return Err(Full::Address);
            }
            *count += 1;
        }
        inside.all += 1;
        drop(inside);
        Ok(Pass { door: self.clone(), address })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Nothing in here can fail half-way.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = self.door.inside();
        inside.all -= 1;
        if let Some(address) = self.address
            && let Some(count) = inside.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                inside.by_address.remove(&address);
            }
        }
    }
}

/// What one subscriber is given: an address of version 4, or a /64 of version 6.
fn house(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_leaves_makes_room_and_a_full_house_turns_away_whoever_comes() {
        let door = Arc::new(Door::new(3, 2, Vec::new()));
        let first = door.enter(at("192.0.2.1")).unwrap();
        let _second = door.enter(at("192.0.2.1")).unwrap();
        assert_eq!(door.enter(at("192.0.2.1")).unwrap_err(), Full::Address);
        let _third = door.enter(at("192.0.2.2")).unwrap();
        assert_eq!(door.enter(at("192.0.2.3")).unwrap_err(), Full::All);
        drop(first);
        let _again = door.enter(at("192.0.2.1")).unwrap();
        assert_eq!(door.inside().all, 3);
    }

    #[test]
    fn one_network_of_version_6_counts_as_one_address_and_this_machine_as_none() {
        let door = Arc::new(Door::new(9, 1, Vec::new()));
        let _one = door.enter(at("2001:db8:0:1::1")).unwrap();
        assert_eq!(door.enter(at("2001:db8:0:1:ffff::2")).unwrap_err(), Full::Address);
        let _other = door.enter(at("2001:db8:0:2::1")).unwrap();
        let _here = [door.enter(at("127.0.0.1")).unwrap(), door.enter(at("127.0.0.1")).unwrap()];
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_its_own_word() {
        let door = Door::new(1, 1, vec![at("10.0.0.1")]);
        let mut headers = HeaderMap::new();
        assert_eq!(door.address(at("10.0.0.1"), &headers), at("10.0.0.1"));
        headers.append("x-forwarded-for", HeaderValue::from_static("203.0.113.9, 192.0.2.7"));
        assert_eq!(door.address(at("10.0.0.1"), &headers), at("192.0.2.7"));
        assert_eq!(door.address(at("::ffff:10.0.0.1"), &headers), at("192.0.2.7"));
        assert_eq!(door.address(at("10.0.0.2"), &headers), at("10.0.0.2"));
        headers.append("x-forwarded-for", HeaderValue::from_static("nobody"));
        assert_eq!(door.address(at("10.0.0.1"), &headers), at("10.0.0.1"));
    }
}
