//! RVL, the lossless depth code of Wilson, "Fast Lossless Depth Image Compression" (2017):
//! runs of zeros and of values alternate, values are coded as differences, and every
//! number is a chain of nibbles with three bits and a "more follows" flag each. The
//! nibbles fill 32-bit words from the top; the words are little-endian.

use super::MAX_PIXELS;

/// Nibbles of the longest number accepted: 30 bits, far above any run or difference.
const MAX_NIBBLES: u32 = 10;

/// Why an RVL stream was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RvlError {
    /// More pixels than any decoder here accepts.
    #[error("RVL of {pixels} pixels: the limit is {MAX_PIXELS}")]
    TooLarge {
        /// Pixels asked for.
        pixels: u64,
    },
    /// The stream ends before the picture does.
    #[error("RVL of {got} bytes is cut off after {decoded} of {pixels} pixels")]
    CutOff {
        /// Bytes there.
        got: usize,
        /// Pixels decoded so far.
        decoded: usize,
        /// Pixels of the picture.
        pixels: usize,
    },
    /// A run goes beyond the picture.
    #[error("RVL run of {run} pixels after {decoded} of {pixels} pixels")]
    Run {
        /// Pixels of the run.
        run: u32,
        /// Pixels decoded so far.
        decoded: usize,
        /// Pixels of the picture.
        pixels: usize,
    },
    /// A number or a value that no encoder makes.
    #[error("RVL number out of range after {decoded} of {pixels} pixels")]
    Range {
        /// Pixels decoded so far.
        decoded: usize,
        /// Pixels of the picture.
        pixels: usize,
    },
}

/// The nibbles of a stream, highest first within each little-endian word.
struct Nibbles<'a> {
    words: core::slice::Iter<'a, [u8; 4]>,
    word: u32,
    left: u32,
}

/// What a number ran into.
enum Broken {
    End,
    TooLong,
}

impl Nibbles<'_> {
    #[inline]
    fn number(&mut self) -> Result<u32, Broken> {
        let mut value = 0;
        for place in 0..MAX_NIBBLES {
            if self.left == 0 {
                self.word = u32::from_le_bytes(*self.words.next().ok_or(Broken::End)?);
                self.left = 8;
            }
            let nibble = self.word >> 28;
            self.word <<= 4;
            self.left -= 1;
            value |= (nibble & 7) << (3 * place);
            if nibble & 8 == 0 {
                return Ok(value);
            }
        }
        Err(Broken::TooLong)
    }
}

/// Decodes `pixels` values, 0 for none.
///
/// # Errors
/// When the stream is cut off or damaged, or the picture too large. Each loop consumes
/// input, so work is bounded by the input and memory by `pixels`.
///
/// ```
/// use spatial_ssrl::frame::rvl;
/// let depth = [0, 0, 1000, 1002, 999, 0];
/// assert_eq!(rvl::decode(&rvl::encode(&depth), depth.len())?, depth);
/// # Ok::<(), rvl::RvlError>(())
/// ```
pub fn decode(data: &[u8], pixels: usize) -> Result<Vec<u16>, RvlError> {
    decode_with(data, pixels, 0, |value| value)
}

/// As [`decode`], with every value that is not zero through `convert` and `none` for zero.
pub(super) fn decode_with<T: Copy>(
    data: &[u8],
    pixels: usize,
    none: T,
    convert: impl Fn(u16) -> T,
) -> Result<Vec<T>, RvlError> {
    if pixels as u64 > MAX_PIXELS {
        return Err(RvlError::TooLarge { pixels: pixels as u64 });
    }
    let (words, _) = data.as_chunks::<4>();
    let mut nibbles = Nibbles { words: words.iter(), word: 0, left: 0 };
    let mut out = Vec::with_capacity(pixels);
    let broken = |broken, decoded| match broken {
        Broken::End => RvlError::CutOff { got: data.len(), decoded, pixels },
        Broken::TooLong => RvlError::Range { decoded, pixels },
    };
    let checked = |run: u32, decoded: usize| {
        let fits = run as usize <= pixels - decoded;
        if fits { Ok(run as usize) } else { Err(RvlError::Run { run, decoded, pixels }) }
    };

    let mut previous = 0_i32;
    while out.len() < pixels {
        let zeros = nibbles.number().map_err(|b| broken(b, out.len()))?;
        out.resize(out.len() + checked(zeros, out.len())?, none);
        let values = nibbles.number().map_err(|b| broken(b, out.len()))?;
        for _ in 0..checked(values, out.len())? {
            let coded = nibbles.number().map_err(|b| broken(b, out.len()))?;
            // Zigzag: 0, -1, 1, -2, … as 0, 1, 2, 3, …; 30 bits leave no overflow.
            let difference = (coded >> 1) as i32 ^ -((coded & 1) as i32);
            previous += difference;
            let value = u16::try_from(previous)
                .map_err(|_| RvlError::Range { decoded: out.len(), pixels })?;
            out.push(if value == 0 { none } else { convert(value) });
        }
    }
    Ok(out)
}

/// Encodes depth values, 0 for none.
pub fn encode(depth: &[u16]) -> Vec<u8> {
    let mut out = Encoder { bytes: Vec::with_capacity(depth.len()), word: 0, nibbles: 0 };
    let mut rest = depth;
    let mut previous = 0_i32;
    while !rest.is_empty() {
        let zeros = rest.iter().take_while(|value| **value == 0).count();
        let (_, after) = rest.split_at(zeros);
        let values = after.iter().take_while(|value| **value != 0).count();
        let (run, after) = after.split_at(values);
        rest = after;
        out.number(zeros as u64);
        out.number(values as u64);
        for value in run {
            let difference = i32::from(*value) - previous;
            previous = i32::from(*value);
            out.number(u64::from(((difference << 1) ^ (difference >> 31)) as u32));
        }
    }
    out.finish()
}

struct Encoder {
    bytes: Vec<u8>,
    word: u32,
    nibbles: u32,
}

impl Encoder {
    fn number(&mut self, mut value: u64) {
        loop {
            let nibble = (value & 7) as u32;
            value >>= 3;
            self.word = self.word << 4 | nibble | if value == 0 { 0 } else { 8 };
            self.nibbles += 1;
            if self.nibbles == 8 {
                self.bytes.extend(self.word.to_le_bytes());
                (self.word, self.nibbles) = (0, 0);
            }
            if value == 0 {
                return;
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.nibbles > 0 {
            self.bytes.extend((self.word << (4 * (8 - self.nibbles))).to_le_bytes());
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Worked by hand after the paper: 2 zeros, 2 values (10: zigzag 20 = nibbles c 2;
    /// then -1: zigzag 1), 1 zero, 0 values. Nibbles 2 2 c 2 1 1 0.
    #[test]
    fn the_code_is_the_papers() {
        let depth = [0, 0, 10, 9, 0];
        let bytes = 0x22c2_1100_u32.to_le_bytes();
        assert_eq!(encode(&depth), bytes);
        assert_eq!(decode(&bytes, 5).unwrap(), depth);
    }

    #[test]
    fn a_cut_off_stream_is_refused_wherever_it_is_cut() {
        let depth: Vec<u16> = (0..500).map(|i| if i % 7 == 0 { 0 } else { 900 + i }).collect();
        let bytes = encode(&depth);
        for end in 0..bytes.len() {
            let error = decode(&bytes[..end], depth.len()).unwrap_err();
            assert!(matches!(error, RvlError::CutOff { .. }), "{end}: {error}");
        }
    }

    #[test]
    fn runs_beyond_the_picture_are_refused() {
        let depth = [0, 0, 0, 0, 0, 0, 0, 5, 6];
        assert_eq!(
            decode(&encode(&depth), 6),
            Err(RvlError::Run { run: 7, decoded: 0, pixels: 6 })
        );
        assert_eq!(
            decode(&encode(&depth), 8),
            Err(RvlError::Run { run: 2, decoded: 7, pixels: 8 })
        );
    }

    #[test]
    fn numbers_without_end_and_negative_depths_are_refused() {
        assert!(matches!(decode(&[0xff; 64], 9), Err(RvlError::Range { decoded: 0, .. })));
        // 0 zeros, 1 value, difference -1.
        let negative = 0x0110_0000_u32.to_le_bytes();
        assert!(matches!(decode(&negative, 1), Err(RvlError::Range { .. })));
    }

    #[test]
    fn a_picture_too_large_is_refused_before_memory_is_taken() {
        assert!(matches!(decode(&[], usize::MAX), Err(RvlError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn decoding_inverts_encoding(
            depth in prop::collection::vec(
                prop_oneof![Just(0_u16), any::<u16>(), 900_u16..1100],
                0..700,
            ),
        ) {
            prop_assert_eq!(decode(&encode(&depth), depth.len()).unwrap(), depth);
        }

        #[test]
        fn random_bytes_never_panic_and_give_all_pixels_or_none(
            data in prop::collection::vec(any::<u8>(), 0..400),
            pixels in 0_usize..5000,
        ) {
            if let Ok(depth) = decode(&data, pixels) {
                prop_assert_eq!(depth.len(), pixels);
                prop_assert!(depth.capacity() <= pixels.max(4) * 2);
            }
        }

        #[test]
        fn a_flipped_bit_never_panics(
            depth in prop::collection::vec(0_u16..2000, 1..300),
            bit in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encode(&depth);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(decoded) = decode(&bytes, depth.len()) {
                prop_assert_eq!(decoded.len(), depth.len());
            }
        }
    }
}
