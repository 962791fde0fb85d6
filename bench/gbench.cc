/* SPDX-License-Identifier: BSD-3-Clause */
#include "gbench.h"

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

namespace
{

std::atomic<bool> something_failed{false};

struct {
	unsigned int repetitions;
	double min_time;
} defaults;

/* std::barrier is C++20. */
class Barrier
{
      public:
	void wait(unsigned int threads)
	{
		std::unique_lock<std::mutex> lock(mutex_);
		unsigned int turn = turn_;

		if (++arrived_ == threads) {
			arrived_ = 0;
			turn_++;
			all_here_.notify_all();
			return;
		}
		all_here_.wait(lock, [&] { return turn != turn_; });
	}

      private:
	std::mutex mutex_;
	std::condition_variable all_here_;
	unsigned int arrived_ = 0;
	unsigned int turn_ = 0;
};

/* One registered benchmark; lives as long as the process. */
struct Entry {
	gb_bench bench;
	std::vector<int64_t> args;
	Barrier barrier;
	int setup_error = 0;
};

benchmark::State *state_of(gb_state *state)
{
	return reinterpret_cast<benchmark::State *>(state);
}

const benchmark::State *state_of(const gb_state *state)
{
	return reinterpret_cast<const benchmark::State *>(state);
}

void run_entry(Entry *entry, benchmark::State &state)
{
	gb_state *opaque = reinterpret_cast<gb_state *>(&state);
	const gb_bench &bench = entry->bench;
	unsigned int threads = state.threads();
	bool first = state.thread_index() == 0;

	if (first)
		entry->setup_error = bench.setup ? bench.setup(bench.arg) : 0;
	entry->barrier.wait(threads);
	if (entry->setup_error)
		gb_fail(opaque, "setup failed");
	else
		bench.run(opaque, bench.arg);
	entry->barrier.wait(threads);
	if (first && !entry->setup_error && bench.teardown)
		bench.teardown(bench.arg);
}

std::vector<std::unique_ptr<Entry>> &entries()
{
	static std::vector<std::unique_ptr<Entry>> all;

	return all;
}

void register_entry(const gb_bench &bench)
{
	auto entry = std::make_unique<Entry>();
	Entry *raw = entry.get();
	benchmark::internal::Benchmark *made;

	entry->bench = bench;
	if (bench.nargs)
		entry->args.assign(bench.args, bench.args + bench.nargs);
	entries().push_back(std::move(entry));
	made = benchmark::RegisterBenchmark(
		bench.name,
		[raw](benchmark::State &state) { run_entry(raw, state); });
	if (!raw->args.empty())
		made->Args(raw->args);
	if (bench.threads > 1)
		made->Threads(static_cast<int>(bench.threads));
	if (bench.iterations)
		made->Iterations(
			static_cast<benchmark::IterationCount>(bench.iterations));
	else if (bench.min_time > 0)
		made->MinTime(bench.min_time);
	else if (defaults.min_time > 0)
		made->MinTime(defaults.min_time *
			      (bench.longer ? bench.longer : 1));
	if (defaults.repetitions)
		made->Repetitions(static_cast<int>(defaults.repetitions));
	if (bench.wall)
		made->UseRealTime();
}

} /* namespace */

void gb_defaults(unsigned int repetitions, double min_time)
{
	defaults = {repetitions, min_time};
}

int gb_register(const struct gb_bench *bench)
{
	if (!bench->name || !bench->run || (bench->nargs && !bench->args))
		return -EINVAL;
	try {
		register_entry(*bench);
	} catch (...) {
		return -ENOMEM;
	}
	return 0;
}

bool gb_next(struct gb_state *state, uint64_t units)
{
	return state_of(state)->KeepRunningBatch(
		static_cast<benchmark::IterationCount>(units));
}

void gb_pause(struct gb_state *state)
{
	state_of(state)->PauseTiming();
}

void gb_resume(struct gb_state *state)
{
	state_of(state)->ResumeTiming();
}

unsigned int gb_thread(const struct gb_state *state)
{
	return static_cast<unsigned int>(state_of(state)->thread_index());
}

unsigned int gb_threads(const struct gb_state *state)
{
	return static_cast<unsigned int>(state_of(state)->threads());
}

int64_t gb_arg(const struct gb_state *state, unsigned int index)
{
	return state_of(state)->range(index);
}

uint64_t gb_units(const struct gb_state *state)
{
	return static_cast<uint64_t>(state_of(state)->iterations());
}

void gb_counter(struct gb_state *state, const char *name, double value)
{
	try {
		state_of(state)->counters[name] = benchmark::Counter(
			value, benchmark::Counter::kAvgThreads);
	} catch (...) {
		something_failed = true;
	}
}

void gb_bytes(struct gb_state *state, uint64_t bytes)
{
	try {
		state_of(state)->SetBytesProcessed(
			static_cast<int64_t>(bytes * gb_units(state)));
	} catch (...) {
		something_failed = true;
	}
}

void gb_label(struct gb_state *state, const char *text)
{
	try {
		state_of(state)->SetLabel(text);
	} catch (...) {
		something_failed = true;
	}
}

void gb_skip(struct gb_state *state, const char *why)
{
	try {
		state_of(state)->SkipWithError(why);
	} catch (...) {
		something_failed = true;
	}
}

void gb_fail(struct gb_state *state, const char *why)
{
	something_failed = true;
	gb_skip(state, why);
}

int gb_context(const char *key, const char *value)
{
	try {
		benchmark::AddCustomContext(key, value);
	} catch (...) {
		return -ENOMEM;
	}
	return 0;
}

int gb_main(int argc, char **argv)
{
	try {
		benchmark::Initialize(&argc, argv);
		if (benchmark::ReportUnrecognizedArguments(argc, argv))
			return -EINVAL;
		benchmark::RunSpecifiedBenchmarks();
		benchmark::Shutdown();
	} catch (...) {
		return -ENOMEM;
	}
	return something_failed ? -EIO : 0;
}
