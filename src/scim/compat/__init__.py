"""Scripts written for other packages, on the functions of this one."""
