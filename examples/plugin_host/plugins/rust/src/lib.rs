//! This library is empty: the plug-ins are in `examples`.
