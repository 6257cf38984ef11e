//! What people look at: tasks and results in, pictures and tables out.

pub mod contact_sheet;
