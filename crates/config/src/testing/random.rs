//! Random numbers that are the same for the same seed on every machine.

use std::time::Duration;

/// xorshift64*, from a seed that is not 0.
pub struct Random(pub u64);

impl Random {
    /// A generator for any seed. The numbers of neighbouring seeds have nothing in common.
    pub fn of_seed(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        (0..4).for_each(|_| _ = random.below(2));
        random
    }

    /// A number from 0 to `bound` - 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound.max(1)
    }

    pub fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    pub fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }

    /// An index of a list with this length.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())].clone()
    }

    /// A random part of a text that has `¦` between its parts.
    pub fn part<'t>(&mut self, of: &'t str) -> &'t str {
        let parts: Vec<_> = of.split('¦').collect();
        self.pick(&parts)
    }

    pub fn shuffle<T>(&mut self, of: &mut [T]) {
        (1..of.len()).for_each(|last| of.swap(last, self.index(last + 1)));
    }
}
