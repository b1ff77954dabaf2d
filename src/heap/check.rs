//! The walker: looks at every structure and says which invariant is broken.
