// Rows of a table.
//
// Contract: ai.lram.backend.ops.EmbeddingOps. The gradient is summed row of the table by row of the table, in the order
// of the ids, so that the same inputs give the same bits; each block reads all ids.
//
// Compile:  as elementwise.cu.
#include "lram_common.cuh"

namespace lram {

struct CheckIds {
    const int* ids;
    int rows;
    int vocabulary;
    Faults faults;
};

struct Lookup {
    const int* ids;
    const float* table;
    float* y;
    long long n;
    int width;
    Faults faults;
};

struct LookupBackward {
    const int* ids;
    const float* dy;
    float* dtable;
    int rows;
    int width;
    Faults faults;
};

}  // namespace lram

using namespace lram;

LRAM_KERNEL(check_ids, CheckIds) {
    for (long long i = gridStart(); i < p.rows; i += gridStride()) {
        int id = p.ids[i];
        if (id < 0 || id >= p.vocabulary) {
            reportFault(p.faults, FAULT_ID, static_cast<int>(i), id, p.vocabulary - 1);
        }
    }
}

LRAM_KERNEL(lookup, Lookup) {
    if (faulted(p.faults)) {
        return;
    }
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        long long m = i / p.width;
        p.y[i] = p.table[static_cast<long long>(p.ids[m]) * p.width + (i - m * p.width)];
    }
}

// Grid (columns / 256, table rows).
LRAM_KERNEL(lookup_backward, LookupBackward) {
    if (faulted(p.faults)) {
        return;
    }
    const int column = static_cast<int>(blockIdx.x) * LRAM_THREADS + static_cast<int>(threadIdx.x);
    const int row = static_cast<int>(blockIdx.y);
    if (column >= p.width) {
        return;
    }
    double sum = 0;
    for (int m = 0; m < p.rows; m++) {
        if (p.ids[m] == row) {
            sum += p.dy[static_cast<long long>(m) * p.width + column];
        }
    }
    float* to = p.dtable + static_cast<long long>(row) * p.width + column;
    *to = static_cast<float>(*to + sum);
}
