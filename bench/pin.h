/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which processor a thread runs on: two threads that the scheduler leaves on
 * one processor for a while would measure the scheduler.
 */
#ifndef BENCH_PIN_H
#define BENCH_PIN_H

/* Note the processors that this process may use.  0 or -errno; once, first. */
int pin_init(void);

/* The calling thread onto the index-th of them, if there are so many. */
void pin_thread(unsigned int index);
/* The calling thread onto any of them again. */
void pin_release(void);

#endif
