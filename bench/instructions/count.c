/* A plugin of QEMU (user mode, 7.2 and newer) that counts the instructions of a program,
 * and appends their number to the file that COUNT names. Threads that run at the same
 * time lose some: run the codec with one.
 *
 * Debian has no package with qemu-plugin.h, so what is used of it is declared here.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;

enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
	void (*translated)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb,
	enum qemu_plugin_op op, void *counter, uint64_t n);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
	void (*ended)(qemu_plugin_id_t id, void *data), void *data);

#define EXPORTED __attribute__((visibility("default")))

EXPORTED int qemu_plugin_version = 1;

static uint64_t count;

static void
translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void) id;
	qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64,
		&count, qemu_plugin_tb_n_insns(tb));
}

static void
ended(qemu_plugin_id_t id, void *data)
{
	const char *name = getenv("COUNT");
	FILE *file = name ? fopen(name, "a") : NULL;

	(void) id;
	(void) data;
	if (!file) {
		perror("COUNT");
		return;
	}
	fprintf(file, "%" PRIu64 "\n", count);
	fclose(file);
}

EXPORTED int
qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	(void) info;
	(void) argc;
	(void) argv;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, ended, NULL);
	return 0;
}
