memtrace 1
# SPDX-License-Identifier: BSD-3-Clause
# All kinds of memory; RAM that grows, a ROM made writable, an empty region.
region 1 container 0x10000000000000000 system
region 2 ram 0x1000 ram max=0x10000
add 1 2 0x0 0 0
as_init 1 1 memory
publish 1 as_init 1 1 1 1 1 1 1
view 1 1 1 0 0 0
r 0x0 0x1000 2 0x0 0 1 0 0
use 1 1
end 1
set_size 2 0x8000
publish 2 topology 1 1 1 1 1 1 1
view 2 1 1 0 0 0
r 0x0 0x8000 2 0x0 0 1 0 0
use 1 2
end 2
region 3 rom 0x1000 rom ro=1
region 4 ram_device 0x100 bar
region 5 romd 0x0 none
add 1 3 0x10000 0 1
publish 3 topology 1 1 1 1 1 1 2
view 3 1 2 2 1 0
r 0x10000 0x1000 3 0x0 1 1 0 0
use 1 3
end 3
add 1 4 0x20000 0 1
publish 4 topology 1 1 1 1 1 1 3
view 4 1 3 3 2 0
r 0x20000 0x100 4 0x0 0 1 0 0
use 1 4
end 4
set_readonly 3 0
publish 5 topology 1 1 1 1 1 1 3
view 5 1 3 4 1 1
r 0x10000 0x1000 3 0x0 0 1 0 0
use 1 5
end 5
add 1 5 0x5 5 1
publish 6 topology 1 1 1 1 1 1 3
end 6
set_size 3 0x10000000000000000
publish 7 topology 1 1 1 1 1 1 4
view 6 1 4 5 1 0
r 0x10000 0x10000 3 0x0 0 1 0 0
r 0x20000 0x100 4 0x0 0 1 0 0
r 0x20100 0xfffffffffffdff00 3 0x10100 0 1 0 0
use 1 6
end 7
eof
