//! The other end of a channel, for tests: as an honest application's library drives it, over the same memory.
use abi::shm::desc::{Form, RxDesc, TxDesc};
use abi::shm::layout::{DownChannel, Shape, UpChannel};
use abi::shm::memory::{Memory, Writable};
use abi::shm::ring::{self, Consumer, Fenced, Moved, Producer, tx_flags};

pub(super) struct Application<D, U> {
    down: D,
    up: U,
    pub(super) down_at: DownChannel,
    pub(super) up_at: UpChannel,
    pub(super) rx: Consumer,
    pub(super) tx: Producer,
}

impl<D: Memory, U: Writable> Application<D, U> {
    pub(super) fn new(down: D, up: U, shape: &Shape, number: u16, start: u32) -> Self {
        Self {
            down,
            up,
            down_at: shape.down(number).expect("a channel"),
            up_at: shape.up(number).expect("a channel"),
            rx: Consumer::new(shape.rx_slots(), start),
            tx: Producer::new(shape.tx_slots(), start),
        }
    }

    /// Takes one received packet, if there is one.
    pub(super) fn receive(&mut self) -> Option<(RxDesc, Vec<u8>)> {
        if self.rx.look(&self.down, self.down_at.rx_prod()).expect("an honest daemon") == 0 {
            return None;
        }
        let slot = self.rx.peek(0);
        let at = self.down_at.descriptor(slot);
        let desc = RxDesc::from_words([self.down.load_u64(at), self.down.load_u64(at + 8)]);
        let mut bytes = vec![0; desc.len as usize];
        self.down.copy_out(self.down_at.buffer(slot), &mut bytes);
        self.rx.take(1);
        let _ = self.rx.publish(&self.up, self.up_at.rx_cons());
        Some((desc, bytes))
    }

    /// Puts one packet into the ring without showing it; whether there was room.
    pub(super) fn put(&mut self, packet: &[u8], desc: TxDesc) -> Option<()> {
        self.tx.look(&self.down, self.down_at.tx_cons()).expect("an honest daemon");
        let slot = self.tx.take()?;
        self.up.copy_in(self.up_at.buffer(slot), packet);
        let at = self.up_at.descriptor(slot);
        let [first, second] = desc.words();
        self.up.store_u64(at, first);
        self.up.store_u64(at + 8, second);
        Some(())
    }

    pub(super) fn publish(&mut self) -> Moved {
        self.tx.publish(&self.up, self.up_at.tx_prod())
    }

    /// Sends one packet; whether there was room.
    pub(super) fn send(&mut self, packet: &[u8]) -> Option<()> {
        self.put(packet, TxDesc::new(packet.len() as u32, Form::L3))?;
        let _ = self.publish();
        Some(())
    }

    /// Whether the worker must be rung.
    pub(super) fn worker_sleeps(&self) -> bool {
        let fenced = Fenced::by(&self.up);
        ring::sleeps_for(&self.down, self.down_at.tx_flags(), tx_flags::NEED_WAKEUP, &fenced) != 0
    }

    /// Says what to be rung for, and passes the fence.
    pub(super) fn arm(&self, flags: u32) -> Fenced {
        ring::arm(&self.up, self.up_at.rx_flags(), flags);
        Fenced::by(&self.up)
    }

    pub(super) fn disarm(&self) {
        ring::disarm(&self.up, self.up_at.rx_flags());
    }
}
