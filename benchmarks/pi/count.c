/* A TCG plugin for qemu's user emulation: guest instructions between marker system calls.
 *
 * A program marks a place by getpriority(MARKER, tag), which the kernel refuses and nothing else calls. At each mark, a
 * line "tag instructions-so-far" goes to the file named by out=. Debian does not package qemu-plugin.h, so the few
 * declarations that are needed stand here (qemu 7.2, docs/devel/tcg-plugins.rst, plugin API version 1).
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
enum { ADD_U64 = 0, GETPRIORITY_AARCH64 = 141, MARKER = 0x45444745 };

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*cb)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *pointer, uint64_t value);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id id,
    void (*cb)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));

EXPORT int qemu_plugin_version = 1;
static uint64_t count;
static FILE *out;

static void translated(plugin_id id, struct qemu_plugin_tb *tb) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &count, qemu_plugin_tb_n_insns(tb));
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t first, uint64_t second, uint64_t a3,
                   uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)cpu, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == GETPRIORITY_AARCH64 && first == MARKER) {
        fprintf(out, "%llu %llu\n", (unsigned long long)second, (unsigned long long)count);
        fflush(out);
    }
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4) || !(out = fopen(argv[0] + 4, "w")))
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
