/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include "tests/support/step.h"

#include <errno.h>
#include <signal.h>
#include <ucontext.h>

#if defined(__x86_64__) && STEP_TESTED

#define TRAP_FLAG 0x100

static const struct step *now;
static unsigned int left; /* instructions */
static volatile sig_atomic_t called, over;

/* The flag is 0 in here; what is interrupted gets the one in its context. */
static void on_trap(int number, siginfo_t *info, void *context)
{
	greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];
	int saved = errno;

	(void)number;
	if (info->si_code == SI_TKILL) { /* raise() */
		*flags |= TRAP_FLAG;
	} else if (over || !now->may(now->arg)) {
		*flags &= ~TRAP_FLAG;
	} else if (!left--) {
		*flags &= ~TRAP_FLAG;
		now->other(now->arg);
		called = 1;
	}
	errno = saved;
}

bool step_can(void)
{
	return true;
}

bool step_run(const struct step *step, unsigned int n)
{
	struct sigaction action = { .sa_sigaction = on_trap,
				    .sa_flags = SA_SIGINFO };
	struct sigaction before;

	now = step;
	left = n;
	called = over = 0;
	sigaction(SIGTRAP, &action, &before);
	raise(SIGTRAP);
	step->call(step->arg);
	over = 1;
	sigaction(SIGTRAP, &before, NULL);
	return called;
}

#else

bool step_can(void)
{
	return false;
}

bool step_run(const struct step *step, unsigned int n)
{
	(void)step;
	(void)n;
	return false;
}

#endif
