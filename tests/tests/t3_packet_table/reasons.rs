//! Every reason of the programs has a row, or an excuse that says where it is shown instead.
