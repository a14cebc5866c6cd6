//! What a message is written to.

use super::{
    msgpack::{EncodedValue, Writer},
    position::Epoch,
};

/// Receives a message token by token: the one description of a message serves every codec.
pub trait Tokens {
    /// Nothing.
    fn nil(&mut self);
    /// A boolean.
    fn bool(&mut self, value: bool);
    /// An integer that is not negative.
    fn u64(&mut self, value: u64);
    /// A string.
    fn str(&mut self, value: &str);
    /// The beginning of an array of `length` elements, which follow.
    fn array(&mut self, length: usize);
    /// An epoch.
    fn epoch(&mut self, epoch: Epoch);
    /// A whole value.
    fn value(&mut self, value: EncodedValue<'_>);

    /// Nil for `None`, else what `write` writes.
    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.nil(),
        }
    }
}

impl Tokens for Writer {
    fn nil(&mut self) {
        self.nil();
    }

    fn bool(&mut self, value: bool) {
        self.bool(value);
    }

    fn u64(&mut self, value: u64) {
        self.u64(value);
    }

    fn str(&mut self, value: &str) {
        self.str(value);
    }

    fn array(&mut self, length: usize) {
        self.array(length);
    }

    fn epoch(&mut self, epoch: Epoch) {
        self.bin(epoch.as_bytes());
    }

    fn value(&mut self, value: EncodedValue<'_>) {
        self.value(value);
    }
}
