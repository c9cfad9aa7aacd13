// Shares work among torch's own OpenMP threads if their runtime has GCC's entry points; otherwise the calling thread does
// all of it.
#pragma once

#include <cstdint>

extern "C" void GOMP_parallel(void (*)(void*), void*, unsigned, unsigned) __attribute__((weak));
extern "C" void GOMP_barrier() __attribute__((weak));
extern "C" int omp_get_thread_num() __attribute__((weak));
extern "C" int omp_get_num_threads() __attribute__((weak));

namespace recurlm {

inline bool threads_are_shared() { return GOMP_parallel && GOMP_barrier && omp_get_thread_num && omp_get_num_threads; }

// One of `count` threads that run the same function; `meet` waits for all of them.
struct Thread {
    int64_t number, count;

    int64_t first(int64_t items) const { return items * number / count; }
    int64_t last(int64_t items) const { return items * (number + 1) / count; }
    void meet() const {
        if (count > 1) GOMP_barrier();
    }
};

// Runs `work(thread)` in at most `count` threads at once.
template <class Work>
void in_threads(int64_t count, const Work& work) {
    if (count > 1 && threads_are_shared()) {
        GOMP_parallel(
            [](void* shared) {
                (*static_cast<const Work*>(shared))(Thread{omp_get_thread_num(), omp_get_num_threads()});
            },
            const_cast<Work*>(&work), unsigned(count), 0);
    } else {
        work(Thread{0, 1});
    }
}

}  // namespace recurlm
