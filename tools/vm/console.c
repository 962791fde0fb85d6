/* SPDX-License-Identifier: BSD-3-Clause */
/* The main loop: the terminal at the other end of the serial port. */
#include "tools/vm/vm.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ESCAPE 1 /* Ctrl-A */

static struct termios cooked; /* how the terminal was */

static void restore_terminal(void)
{
	tcsetattr(STDIN_FILENO, TCSANOW, &cooked);
}

/* Every key goes to the guest; whatever ends the program restores it. */
static void raw_terminal(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &cooked))
		return; /* no terminal */
	raw = cooked;
	cfmakeraw(&raw);
	if (!tcsetattr(STDIN_FILENO, TCSANOW, &raw))
		atexit(restore_terminal);
}

/* Take the escapes out; returns how many bytes are the guest's. */
static size_t filter(struct vm *vm, uint8_t *bytes, size_t count)
{
	static bool escaped;
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (!escaped && bytes[i] == ESCAPE) {
			escaped = true;
			continue;
		}
		if (escaped && bytes[i] == 'x')
			vm_end(vm, VM_QUIT);
		escaped = false;
		bytes[kept++] = bytes[i];
	}
	return kept;
}

/* False at the end of the input. */
static bool read_input(struct vm *vm, size_t room)
{
	uint8_t bytes[64];
	ssize_t count;

	count = read(STDIN_FILENO, bytes,
		     room < sizeof(bytes) ? room : sizeof(bytes));
	if (count < 0 && errno == EINTR)
		return true;
	if (count <= 0)
		return false;
	uart_receive(vm->uart, bytes, filter(vm, bytes, (size_t)count));
	return true;
}

static void write_output(struct vm *vm)
{
	uint8_t bytes[1024];
	size_t count;

	while ((count = uart_transmitted(vm->uart, bytes, sizeof(bytes)))) {
		for (size_t done = 0; done < count;) {
			ssize_t n = write(STDOUT_FILENO, bytes + done,
					  count - done);

			if (n < 0 && errno != EINTR) {
				vm_end(vm, VM_BROKEN);
				return;
			}
			done += n > 0 ? (size_t)n : 0;
		}
	}
}

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

void console_run(struct vm *vm)
{
	struct pollfd fds[] = {
		{ .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = uart_fd(vm->uart), .events = POLLIN },
		{ .fd = vm->end_fd, .events = POLLIN },
	};
	time_t began = now(), reported = began;
	bool input = true;
	uint64_t count;
	size_t room;

	raw_terminal();
	while (vm_state(vm) == VM_RUNS) {
		room = uart_room(vm->uart);
		fds[0].fd = input && room ? STDIN_FILENO : -1;
		/* Room in the receiver comes without a signal. */
		if (poll(fds, 3, room ? 1000 : 20) < 0 && errno != EINTR)
			check(-errno, "poll");
		if (fds[0].fd >= 0 && fds[0].revents)
			input = read_input(vm, room);
		if (fds[1].revents &&
		    read(fds[1].fd, &count, sizeof(count)) > 0)
			write_output(vm);
		if (now() == reported)
			continue;
		reported = now();
		if (vm->options.stats)
			report(vm);
		if (reported == began + 10)
			report_silence(vm);
	}
	write_output(vm);
}
