"""A study of Two Colors beside what was published: how agents come through changes of signs."""
