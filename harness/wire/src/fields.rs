//! Reads the fields of one message. Nothing here trusts a length: what is not there is `None`.

/// The rest of a message's body.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    pub(crate) fn i16(&mut self) -> Option<i16> {
        self.bytes(2)?.try_into().ok().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.bytes(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.bytes(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// The bytes up to a zero, which is read too.
    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let string = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Some(string)
    }

    /// Like [`Fields::string`], but what is cut off is given as far as it goes, with `true`.
    pub(crate) fn string_or_cut(&mut self) -> (&'a [u8], bool) {
        match self.string() {
            Some(string) => (string, false),
            None => (std::mem::take(&mut self.0), true),
        }
    }

    /// A count of what follows, as messages have it; negative ones count as none.
    pub(crate) fn count(&mut self) -> Option<usize> {
        self.i16().map(|count| usize::from(count.cast_unsigned()))
    }
}
