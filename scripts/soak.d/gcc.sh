# A compiler and make with parallel jobs: vfork, pipes, temporary files. Prints `case NAME: OUTCOME`.
set -eu
for n in $(seq 12); do
    printf '#include <stdio.h>\nint f%s(int x) { char b[64]; return snprintf(b, 64, "%%d %%d", x, %s); }\n' "$n" "$n" > "f$n.c"
done
printf 'int f1(int); int f12(int);\nint main(void) { return f1(5) + f12(100) == 9 ? 0 : 1; }\n' > main.c
printf 'all: p\np: $(patsubst %%.c,%%.o,$(wildcard *.c))\n\tgcc -o $@ $^\n%%.o: %%.c\n\tgcc -pipe -O2 -c -o $@ $<\n' > Makefile
make -s -j4
echo "case objects: $(cat ./*.o | cksum)"
./p && echo "case runs: yes"
ar rc all.a ./*.o
echo "case symbols: $(nm all.a | sort | cksum)"
tar cf - ./*.c | gzip -n | tee all.tgz | gunzip | tar tf - | sort | cksum | sed 's/^/case tar: /'
