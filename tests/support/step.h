/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What another thread does, at each point of a call: the call is made in single
 * steps, and before one of them a second call is run to its end.
 *
 *     for (n = 0; step_run(&step, n); n++)
 *             look at what came of the two
 *
 * No timing is in it: between two instructions there is nothing left to try.
 */
#ifndef TESTS_SUPPORT_STEP_H
#define TESTS_SUPPORT_STEP_H

#include <stdbool.h>

struct step {
	void (*call)(void *arg);
	/*
	 * May another thread have its turn now, or would it wait?  The first
	 * time that it would, the rest of the call is made at once.  Run in a
	 * signal handler, as `other` is.
	 */
	bool (*may)(void *arg);
	void (*other)(void *arg);
	void *arg;
};

/* tsan's own code must not be interrupted; it has its own tests instead. */
#ifdef __SANITIZE_THREAD__
#define STEP_TESTED 0
#else
#define STEP_TESTED 1
#endif

/* Are there single steps?  Not on other processors than x86-64. */
bool step_can(void);

/* `call`, and `other` before its n-th instruction.  False: it did not come to
 * that, the call was over or had something locked before. */
bool step_run(const struct step *step, unsigned int n);

#endif
