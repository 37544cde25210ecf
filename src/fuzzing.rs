//! A door for the fuzz targets to parsers of foreign words that are private to their modules, since
//! nobody else may call them. Each function is one call, and decides nothing.

use crate::receive::question;

/// What the worker hands over of a question as it came over the wire.
pub fn question_told(bytes: &[u8]) -> Vec<u8> {
    question::told(bytes)
}
