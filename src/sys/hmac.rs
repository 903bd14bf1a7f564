// SPDX-License-Identifier: GPL-2.0

//! HMAC-SHA256 (RFC 2104, FIPS 180-4). Any context.
//!
//! C header: [`include/crypto/sha2.h`](srctree/include/crypto/sha2.h)

use super::bindings;

/// Bytes of a tag.
pub(crate) const TAG_LEN: usize = 32;

/// A key, prepared for use. Overwritten when dropped.
#[derive(Clone)]
pub(crate) struct Key(bindings::hmac_sha256_key);

impl Key {
    /// Prepares a key; any length will do.
    pub(crate) fn new(raw: &[u8]) -> Self {
        let mut key = bindings::hmac_sha256_key::default();
        // SAFETY: Valid memory. `raw` can be read for its length, `key` written.
        unsafe { bindings::hmac_sha256_preparekey(&mut key, raw.as_ptr(), raw.len()) };
        Self(key)
    }

    /// The tag of the message that the parts make up.
    pub(crate) fn tag(&self, parts: &[&[u8]]) -> [u8; TAG_LEN] {
        let mut context = bindings::hmac_sha256_ctx::default();
        // SAFETY: Valid memory. The context can be written, the key read.
        unsafe { bindings::__hmac_sha256_init(&mut context.ctx, &self.0.key) };
        for part in parts {
            // SAFETY: Valid memory. The context is initialised, and `part` can be read for its
            // length.
            unsafe {
                bindings::__sha256_update(&mut context.ctx.sha_ctx, part.as_ptr(), part.len())
            };
        }
        let mut tag = [0; TAG_LEN];
        // SAFETY: Valid memory. The context is initialised, and `tag` has room. The call clears the
        // context.
        unsafe { bindings::hmac_sha256_final(&mut context, tag.as_mut_ptr()) };
        tag
    }

    /// Whether `tag` is that of the message, or the beginning of it with at least 16 bytes
    /// (RFC 2104, section 5). Takes the same time wherever a difference is.
    pub(crate) fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        let expected = self.tag(parts);
        if tag.len() < TAG_LEN / 2 || tag.len() > TAG_LEN {
            return false;
        }
        // SAFETY: Valid memory. Both can be read for `tag.len()` bytes: `expected` is no shorter.
        let differs = unsafe {
            bindings::__crypto_memneq(expected.as_ptr().cast(), tag.as_ptr().cast(), tag.len())
        };
        differs == 0
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: Plain bytes. The key is integers, for which zero is valid; volatile, so that the
        // write is not left out.
        unsafe { core::ptr::write_volatile(&mut self.0, core::mem::zeroed()) };
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
    }
}
