"""Message types and codecs of every protocol we speak: pure, no clocks, no sockets."""
