/* SPDX-License-Identifier: Apache-2.0
 * Stands in for the fuzzer's engine: runs LLVMFuzzerTestOneInput over every file of a corpus folder
 * (first argument, or tests/fuzz/corpus/FUZZ_NAME of the source tree) and speaks TAP. A failing
 * input aborts. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int replay(const char *dir, const char *name)
{
	static uint8_t data[1 << 20];
	char path[4096];
	size_t n;
	uint8_t *exact; /* so that a sanitizer sees a read past the end */
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f)
		return -1;
	n = fread(data, 1, sizeof data, f);
	fclose(f);
	exact = malloc(n ? n : 1);
	if (!exact)
		return -1;
	memcpy(exact, data, n);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	return 0;
}

static int is_input(const struct dirent *e) { return e->d_name[0] != '.'; }

int main(int argc, char **argv)
{
	const char *src = getenv("AGI_SRCDIR");
	char dir[2048];
	struct dirent **files;
	int n, failed = 0;

	if (argc > 1)
		snprintf(dir, sizeof dir, "%s", argv[1]);
	else
		snprintf(dir, sizeof dir, "%s/tests/fuzz/corpus/" FUZZ_NAME, src ? src : ".");
	n = scandir(dir, &files, is_input, alphasort);
	if (n <= 0) {
		printf("1..1\nnot ok 1 - the corpus %s is missing or empty\n", dir);
		return 1;
	}
	printf("1..%d\n", n);
	for (int i = 0; i < n; i++) {
		int bad = replay(dir, files[i]->d_name);

		printf("%sok %d - " FUZZ_NAME " %s\n", bad ? "not " : "", i + 1, files[i]->d_name);
		fflush(stdout);
		failed |= bad;
		free(files[i]);
	}
	free(files);
	return failed ? 1 : 0;
}
