//! `tasks`: the tasks of a source as a data set.
