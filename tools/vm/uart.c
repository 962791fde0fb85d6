/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A 16550 serial port.  Registers, bits and their names are those of the data
 * sheet, as <linux/serial_reg.h> has them.
 *
 * The vCPU's thread never waits for the terminal: what the guest sends goes
 * into a ring that the console empties, and while that is full the guest sees
 * a transmitter that is busy.
 */
#include "tools/vm/vm.h"

#include <errno.h>
#include <linux/serial_reg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RX_SIZE 64
#define TX_SIZE 4096
#define IIR_FIFOS 0xc0 /* both are enabled */

struct uart {
	struct mpl_region *region;
	int irq_fd;
	int tx_fd;

	pthread_mutex_t lock; /* what follows: vCPUs and the console */
	uint8_t ier, lcr, mcr, scratch, divisor[2];
	bool fifo;
	bool thre; /* the interrupt "transmitter is empty" waits */
	uint8_t rx[RX_SIZE];
	size_t rx_used;
	uint8_t tx[TX_SIZE];
	size_t tx_used;
};

/* Which interrupt is first: its code for the register IIR. */
static uint8_t pending(const struct uart *uart)
{
	if ((uart->ier & UART_IER_RDI) && uart->rx_used)
		return UART_IIR_RDI;
	if ((uart->ier & UART_IER_THRI) && uart->thre)
		return UART_IIR_THRI;
	return UART_IIR_NO_INT;
}

/* On each event: the line is edge-triggered. */
static void update_irq(struct uart *uart)
{
	if (pending(uart) != UART_IIR_NO_INT)
		signal_fd(uart->irq_fd);
}

static uint8_t receive(struct uart *uart)
{
	uint8_t byte = uart->rx[0];

	if (!uart->rx_used)
		return 0;
	uart->rx_used--;
	for (size_t i = 0; i < uart->rx_used; i++)
		uart->rx[i] = uart->rx[i + 1];
	return byte;
}

static void transmit(struct uart *uart, uint8_t byte)
{
	if (uart->tx_used == TX_SIZE)
		return; /* it has not asked whether there is room */
	uart->tx[uart->tx_used++] = byte;
	if (uart->tx_used == 1)
		signal_fd(uart->tx_fd);
	uart->thre = uart->tx_used < TX_SIZE;
}

static uint8_t modem_status(const struct uart *uart)
{
	if (!(uart->mcr & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	return (uint8_t)((uart->mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) |
			 (uart->mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) |
			 (uart->mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
			 (uart->mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0));
}

static mpl_result_t uart_read(void *opaque, uint64_t offset, unsigned int size,
			      struct mpl_attrs attrs, uint64_t *value)
{
	struct uart *uart = opaque;
	bool latch;

	(void)size;
	(void)attrs;
	pthread_mutex_lock(&uart->lock);
	latch = uart->lcr & UART_LCR_DLAB;
	switch (offset) {
	case UART_RX:
		*value = latch ? uart->divisor[0] : receive(uart);
		break;
	case UART_IER:
		*value = latch ? uart->divisor[1] : uart->ier;
		break;
	case UART_IIR:
		*value = pending(uart);
		if (*value == UART_IIR_THRI)
			uart->thre = false; /* by being read */
		if (uart->fifo)
			*value |= IIR_FIFOS;
		break;
	case UART_LCR:
		*value = uart->lcr;
		break;
	case UART_MCR:
		*value = uart->mcr;
		break;
	case UART_LSR:
		*value = uart->rx_used ? UART_LSR_DR : 0;
		if (uart->tx_used < TX_SIZE)
			*value |= UART_LSR_THRE | UART_LSR_TEMT;
		break;
	case UART_MSR:
		*value = modem_status(uart);
		break;
	default:
		*value = uart->scratch;
	}
	pthread_mutex_unlock(&uart->lock);
	return MPL_OK;
}

static void write_ier(struct uart *uart, uint8_t value)
{
	if (value & ~uart->ier & UART_IER_THRI)
		uart->thre = uart->tx_used < TX_SIZE;
	uart->ier = value & 0x0f;
	update_irq(uart);
}

static mpl_result_t uart_write(void *opaque, uint64_t offset, unsigned int size,
			       struct mpl_attrs attrs, uint64_t value)
{
	struct uart *uart = opaque;
	uint8_t byte = (uint8_t)value;
	bool latch;

	(void)size;
	(void)attrs;
	pthread_mutex_lock(&uart->lock);
	latch = uart->lcr & UART_LCR_DLAB;
	switch (offset) {
	case UART_TX:
		if (latch) {
			uart->divisor[0] = byte;
		} else {
			transmit(uart, byte);
			update_irq(uart);
		}
		break;
	case UART_IER:
		if (latch)
			uart->divisor[1] = byte;
		else
			write_ier(uart, byte);
		break;
	case UART_FCR:
		uart->fifo = byte & UART_FCR_ENABLE_FIFO;
		if (byte & UART_FCR_CLEAR_RCVR)
			uart->rx_used = 0;
		break;
	case UART_LCR:
		uart->lcr = byte;
		break;
	case UART_MCR:
		uart->mcr = byte & 0x1f;
		break;
	case UART_SCR:
		uart->scratch = byte;
		break;
	}
	pthread_mutex_unlock(&uart->lock);
	return MPL_OK;
}

size_t uart_room(struct uart *uart)
{
	size_t room;

	pthread_mutex_lock(&uart->lock);
	room = RX_SIZE - uart->rx_used;
	pthread_mutex_unlock(&uart->lock);
	return room;
}

void uart_receive(struct uart *uart, const uint8_t *bytes, size_t count)
{
	pthread_mutex_lock(&uart->lock);
	for (size_t i = 0; i < count && uart->rx_used < RX_SIZE; i++)
		uart->rx[uart->rx_used++] = bytes[i];
	update_irq(uart);
	pthread_mutex_unlock(&uart->lock);
}

size_t uart_transmitted(struct uart *uart, uint8_t *bytes, size_t max)
{
	size_t count;

	pthread_mutex_lock(&uart->lock);
	count = uart->tx_used < max ? uart->tx_used : max;
	for (size_t i = 0; i < count; i++)
		bytes[i] = uart->tx[i];
	for (size_t i = count; i < uart->tx_used; i++)
		uart->tx[i - count] = uart->tx[i];
	if (count && uart->tx_used == TX_SIZE) {
		uart->thre = true;
		update_irq(uart);
	}
	uart->tx_used -= count;
	pthread_mutex_unlock(&uart->lock);
	return count;
}

int uart_fd(const struct uart *uart)
{
	return uart->tx_fd;
}

void uart_new(struct vm *vm, struct mpl_txn *tx)
{
	static const struct mpl_io_ops ops = {
		.read = uart_read,
		.write = uart_write,
		.impl = { .min = 1, .max = 1 },
		/* The console takes the lock as well, outside of accesses. */
		.concurrency = MPL_CALLER_LOCK,
	};
	struct uart *uart = calloc(1, sizeof(*uart));

	if (!uart)
		check(-ENOMEM, "uart");
	pthread_mutex_init(&uart->lock, NULL);
	uart->irq_fd = vm_irqfd(vm, UART_IRQ);
	uart->tx_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (uart->tx_fd < 0)
		check(-errno, "uart");
	check(mpl_region_new_io(vm->plane, "uart", 8, &ops, uart,
				&uart->region),
	      "uart");
	mpl_region_add(tx, vm->ports, UART_PORT, uart->region, 0);
	vm->uart = uart;
}

void uart_free(struct uart *uart)
{
	mpl_region_unref(uart->region);
	pthread_mutex_destroy(&uart->lock);
	close(uart->irq_fd);
	close(uart->tx_fd);
	free(uart);
}
