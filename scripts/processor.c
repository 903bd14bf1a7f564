// SPDX-License-Identifier: GPL-2.0
/*
 * Prints how far the processor's time-stamp counter counts in a millisecond: the median of nine looks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <x86intrin.h>

static int order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(void)
{
	double khz[9];

	for (int i = 0; i < 9; i++) {
		struct timespec from, to, pause = { .tv_nsec = 50000000 };
		unsigned long long begun, ended;

		clock_gettime(CLOCK_MONOTONIC, &from);
		begun = __rdtsc();
		nanosleep(&pause, NULL);
		clock_gettime(CLOCK_MONOTONIC, &to);
		ended = __rdtsc();
		khz[i] = (ended - begun) * 1e6 / ((to.tv_sec - from.tv_sec) * 1e9 + to.tv_nsec - from.tv_nsec);
	}
	qsort(khz, 9, sizeof(*khz), order);
	printf("%.0f\n", khz[4]);
}
