//! The client against frames that a server would send.
