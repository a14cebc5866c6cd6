//! What happens at a pulse: applications act, troubles strike.

use std::time::Duration;

use tidewire::protocol::{CloseCode, Epoch, Open};

use super::{
    Event, HOUR, PULSE, RETRY_AFTER, Run, Trouble, disk,
    link::Down,
    oracle::{PRIMARY, STORES},
    peer::index,
};
use crate::{random::Random, rig::Fault};

impl Run<'_> {
    pub(super) fn pulse(&mut self) -> Result<(), Fault> {
        self.rig.schedule(0, self.rig.tick() + PULSE, Event::Pulse);
        for peer in 0..self.peers.len() {
            if self.peers[peer].wakes.is_none() {
                self.act(peer)?;
            }
        }
        if self.rig.is_calm {
            return Ok(());
        }
        for peer in 0..self.peers.len() {
            if !self.peers[peer].is_gone() {
                self.strike_link(peer)?;
                self.strike_client(peer)?;
            }
        }
        self.strike_server()
    }

    fn act(&mut self, peer: usize) -> Result<(), Fault> {
        let now = self.rig.now();
        let about = &mut self.peers[peer];
        about.resubscribe_denied(&mut self.rig.random)?;
        if !self.rig.is_calm {
            if self.rig.random.chance(self.mix.churn) {
                about.subscribe(&mut self.rig.random)?;
            }
            if self.rig.random.chance(self.mix.churn) {
                about.release(&mut self.rig.random);
            }
            if self.rig.random.chance(self.mix.writes) {
                self.writes += 1;
                let is_poison = self.strikes(peer, Trouble::Poison, 30);
                let (number, filler) = (self.writes, self.mix.filler);
                self.peers[peer].write(now, &mut self.rig.random, number, is_poison, filler)?;
            }
        }
        self.settle(peer)
    }

    /// Whether a trouble strikes a client, `times` as often as its rate says.
    pub(super) fn strikes(&mut self, peer: usize, trouble: Trouble, times: u64) -> bool {
        let rate = u64::from(self.mix.rate(trouble)) * times;
        let strikes = !self.rig.is_calm && self.rig.random.below(100_000) < rate;
        if strikes {
            self.rig.note(trouble, self.peers[peer].phase());
        }
        strikes
    }

    /// Whether a trouble strikes the server, and with it all clients.
    fn fires(&mut self, trouble: Trouble) -> bool {
        let rate = u64::from(self.mix.rate(trouble));
        let fires = self.rig.random.below(100_000) < rate;
        if fires {
            for peer in self.peers.iter().filter(|peer| !peer.is_gone()) {
                self.rig.note(trouble, peer.phase());
            }
        }
        fires
    }

    fn strike_link(&mut self, peer: usize) -> Result<(), Fault> {
        let Some((_, link)) = self.peers[peer].link else { return Ok(()) };
        let tick = self.rig.tick();
        if self.strikes(peer, Trouble::Stall, 1) {
            self.peers[peer].trouble_link(link);
            let until = tick + self.rig.random.below(20_000);
            self.links[link].up.stall(until);
            self.links[link].down.stall(until);
        }
        if self.strikes(peer, Trouble::Slow, 1) {
            self.peers[peer].trouble_link(link);
            self.links[link].lag = self.rig.random.below(10_000);
            let until = tick + self.rig.random.below(3_000);
            self.links[link].down.stall(until);
        }
        if self.strikes(peer, Trouble::HalfOpen, 1) {
            self.peers[peer].trouble_link(link);
            self.links[link].up.cut(0);
            self.links[link].down.cut(0);
        }
        if self.strikes(peer, Trouble::OneWay, 1) {
            self.peers[peer].trouble_link(link);
            if self.rig.random.below(2) == 0 {
                self.links[link].up.cut(0);
            } else {
                self.links[link].down.cut(0);
            }
        }
        if self.strikes(peer, Trouble::Cut, 1) {
            self.break_link(link, true);
        }
        if self.strikes(peer, Trouble::Garbage, 1) {
            self.send_down(link, Down::Frame([0xc1, 0x00].as_slice().into()));
        }
        let connection = self.links[link].connection;
        if !self.connections.contains_key(&connection) || self.server.is_none() {
            return Ok(());
        }
        if self.strikes(peer, Trouble::Close, 1) {
            let wait = self.rig.random.below(RETRY_AFTER + 1);
            let wait = (self.rig.random.below(2) == 0).then_some(Duration::from_millis(wait));
            if let Some(server) = &mut self.server {
                server.close(connection, CloseCode::Restarting, "moving", wait);
            }
            self.commit()?;
        } else if self.strikes(peer, Trouble::Evict, 1) {
            self.peers[peer].trouble_link(link);
            self.oracle.disconnect(connection);
            self.connections.remove(&connection);
            self.with_server(link, |server, now| server.handle_disconnect(now, connection))?;
            let slow = Down::Closed { code: CloseCode::SlowConsumer.number(), reason: "too slow".into() };
            let at = self.links[link].down.end(tick + 1, slow);
            self.rig.schedule(link, at, Event::Down);
        }
        Ok(())
    }

    fn strike_client(&mut self, peer: usize) -> Result<(), Fault> {
        if self.strikes(peer, Trouble::Reload, 1) {
            let is_told = self.rig.random.below(2) == 0;
            self.part(peer, is_told)?;
            return self.join();
        }
        if self.peers[peer].wakes.is_some() {
            return Ok(());
        }
        if self.strikes(peer, Trouble::Nudge, 1) {
            let now = self.rig.now();
            self.peers[peer].client.nudge(now);
            self.settle(peer)?;
        }
        if self.strikes(peer, Trouble::Sleep, 1) {
            let wakes = self.rig.tick() + 1 + self.rig.random.below(60_000);
            self.peers[peer].wakes = Some(wakes);
            self.rig.schedule(peer, wakes, Event::Wake);
        }
        Ok(())
    }

    /// The host of a client that slept notices the jump of its clock at once, or with its timers, or with a frame.
    pub(super) fn wake(&mut self, peer: usize) -> Result<(), Fault> {
        let now = self.rig.now();
        self.peers[peer].wake_up(now);
        if self.rig.random.below(2) == 0 {
            self.peers[peer].client.nudge(now);
            self.settle(peer)?;
        }
        Ok(())
    }

    fn strike_server(&mut self) -> Result<(), Fault> {
        if self.server.is_none() {
            return Ok(());
        }
        if self.rig.random.below(32) == 0 {
            self.backup = Some(self.oracle.back_up(&self.disk));
        }
        if self.fires(Trouble::ShortLife) {
            self.open_shortly()?;
        }
        if self.fires(Trouble::ClockBack) {
            self.commit()?;
            self.skew -= HOUR;
            let now = self.server_now();
            if let Some(server) = &self.server {
                self.oracle.go_back(now, server, &self.disk)?;
            }
        }
        if self.fires(Trouble::ClockAhead) {
            self.commit()?;
            self.skew += 10 * 365 * 24 * HOUR;
        }
        if self.fires(Trouble::DiskFailure) {
            let after = u32::try_from(self.rig.random.below(24)).unwrap_or(0);
            let trouble = if after < 12 { disk::Trouble::After(after) } else { disk::Trouble::Commit };
            self.disk.set_trouble(trouble);
        }
        if self.fires(Trouble::DiskLoss) {
            self.disk.set_trouble(disk::Trouble::Loss);
        }
        if self.fires(Trouble::Restart) {
            let wait = Duration::from_millis(self.rig.random.below(RETRY_AFTER + 1));
            if let Some(server) = &mut self.server {
                server.close_all(CloseCode::Restarting, "restarting", Some(wait));
            }
            self.commit()?;
            self.end_process();
        }
        if self.fires(Trouble::Crash) {
            // What was committed may have been so a moment before anybody was told.
            if self.rig.random.below(2) == 0 {
                self.end_batch()?;
            }
            self.end_process();
        }
        if self.backup.is_some() && self.fires(Trouble::Restore) {
            self.end_process();
            if let Some(backup) = &self.backup {
                let random = &mut self.rig.random;
                self.oracle.restore(backup, &self.disk, || new_epoch(random));
            }
        }
        Ok(())
    }

    fn end_process(&mut self) {
        if self.server.is_some() {
            self.crash();
            self.boot_later();
        }
    }

    fn open_shortly(&mut self) -> Result<(), Fault> {
        let temporary: Vec<_> = STORES.iter().filter(|(_, is_permanent)| !is_permanent).collect();
        let (id, _) = temporary[index(&mut self.rig.random, temporary.len())];
        let life = Duration::from_millis(1_000 + self.rig.random.below(15_000));
        let now = self.server_now();
        if let Some(server) = &mut self.server {
            let opened =
                server.open_datastore(now, id, Open { permanent: false, primary: PRIMARY }, Some(life));
            if opened.is_ok() {
                self.oracle.open(now, id, false, life);
            }
        }
        self.commit()
    }
}

fn new_epoch(random: &mut Random) -> Epoch {
    Epoch::from_bytes((u128::from(random.bits()) << 64 | u128::from(random.bits())).to_le_bytes())
}
