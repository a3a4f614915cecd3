//! wg-quick files.
