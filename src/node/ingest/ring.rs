//! What waits between two threads: bounded in number and bytes, the oldest goes first.

use heapless::Deque;

/// A queue of at most `max_len` messages, never more than `N`, and `max_bytes` bytes.
#[derive(Debug)]
pub struct Ring<T, const N: usize> {
    waiting: Deque<(usize, T), N>,
    bytes: usize,
    max_len: usize,
    max_bytes: usize,
}

impl<T, const N: usize> Ring<T, N> {
    /// An empty one.
    pub fn new(max_len: usize, max_bytes: usize) -> Self {
        Ring { waiting: Deque::new(), bytes: 0, max_len: max_len.clamp(1, N), max_bytes }
    }

    /// Takes in a message of this many bytes; says how many older ones went for it. The newest
    /// always has its place.
    ///
    /// ```
    /// use spatial_ssrl::node::ingest::ring::Ring;
    /// let mut ring = Ring::<_, 8>::new(2, 100);
    /// assert_eq!((ring.push(10, 'a'), ring.push(10, 'b'), ring.push(10, 'c')), (0, 0, 1));
    /// assert_eq!(ring.push(95, 'd'), 2);
    /// assert_eq!((ring.pop(), ring.pop()), (Some('d'), None));
    /// ```
    pub fn push(&mut self, bytes: usize, message: T) -> u64 {
        let mut gone = 0;
        while !self.waiting.is_empty()
            && (self.waiting.len() >= self.max_len
                || self.bytes.saturating_add(bytes) > self.max_bytes)
        {
            self.pop();
            gone += 1;
        }
        match self.waiting.push_back((bytes, message)) {
            Ok(()) => self.bytes += bytes,
            Err(_) => gone += 1,
        }
        gone
    }

    /// The oldest message.
    pub fn pop(&mut self) -> Option<T> {
        let (bytes, message) = self.waiting.pop_front()?;
        self.bytes -= bytes;
        Some(message)
    }

    /// Empties it but for the newest message; says how many went.
    pub fn keep_newest(&mut self) -> u64 {
        let mut gone = 0;
        while self.waiting.len() > 1 {
            self.pop();
            gone += 1;
        }
        gone
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
