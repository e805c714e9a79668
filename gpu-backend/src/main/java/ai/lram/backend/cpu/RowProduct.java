package ai.lram.backend.cpu;

import static ai.lram.backend.cpu.VectorMath.F;
import static ai.lram.backend.cpu.VectorMath.LANES;

import jdk.incubator.vector.FloatVector;

/**
 * C += A B on slices of one heap array per matrix. Element (i, k) of A lies at {@code a0 + i * aRow + k * aColumn}, so
 * that A may be read transposed; rows of B and C are contiguous. C has a multiple of 4 rows and whole vectors of
 * columns.
 */
final class RowProduct {
    private RowProduct() {}

    /** @param rows of A and C, {@code inner} of B, {@code columns} of B and C */
    static void add(
            float[] a,
            int a0,
            int aRow,
            int aColumn,
            float[] b,
            int b0,
            int bRow,
            float[] c,
            int c0,
            int cRow,
            int rows,
            int inner,
            int columns) {
        for (int i = 0; i < rows; i += 4) {
            int j = 0;
            for (; j <= columns - 4 * LANES; j += 4 * LANES) {
                tile(a, a0 + i * aRow, aRow, aColumn, b, b0 + j, bRow, c, c0 + i * cRow + j, cRow, inner);
            }
            for (; j < columns; j += LANES) {
                strip(a, a0 + i * aRow, aRow, aColumn, b, b0 + j, bRow, c, c0 + i * cRow + j, cRow, inner);
            }
        }
    }

    private static void tile(
            float[] a,
            int aFrom,
            int aRow,
            int aColumn,
            float[] b,
            int bFrom,
            int bRow,
            float[] c,
            int to,
            int cRow,
            int n) {
        FloatVector a0 = FloatVector.fromArray(F, c, to);
        FloatVector a1 = FloatVector.fromArray(F, c, to + LANES);
        FloatVector a2 = FloatVector.fromArray(F, c, to + 2 * LANES);
        FloatVector a3 = FloatVector.fromArray(F, c, to + 3 * LANES);
        FloatVector b0 = FloatVector.fromArray(F, c, to + cRow);
        FloatVector b1 = FloatVector.fromArray(F, c, to + cRow + LANES);
        FloatVector b2 = FloatVector.fromArray(F, c, to + cRow + 2 * LANES);
        FloatVector b3 = FloatVector.fromArray(F, c, to + cRow + 3 * LANES);
        FloatVector c0 = FloatVector.fromArray(F, c, to + 2 * cRow);
        FloatVector c1 = FloatVector.fromArray(F, c, to + 2 * cRow + LANES);
        FloatVector c2 = FloatVector.fromArray(F, c, to + 2 * cRow + 2 * LANES);
        FloatVector c3 = FloatVector.fromArray(F, c, to + 2 * cRow + 3 * LANES);
        FloatVector d0 = FloatVector.fromArray(F, c, to + 3 * cRow);
        FloatVector d1 = FloatVector.fromArray(F, c, to + 3 * cRow + LANES);
        FloatVector d2 = FloatVector.fromArray(F, c, to + 3 * cRow + 2 * LANES);
        FloatVector d3 = FloatVector.fromArray(F, c, to + 3 * cRow + 3 * LANES);
        int aAt = aFrom;
        int bAt = bFrom;
        for (int k = 0; k < n; k++) {
            FloatVector v0 = FloatVector.fromArray(F, b, bAt);
            FloatVector v1 = FloatVector.fromArray(F, b, bAt + LANES);
            FloatVector v2 = FloatVector.fromArray(F, b, bAt + 2 * LANES);
            FloatVector v3 = FloatVector.fromArray(F, b, bAt + 3 * LANES);
            FloatVector s = FloatVector.broadcast(F, a[aAt]);
            a0 = s.fma(v0, a0);
            a1 = s.fma(v1, a1);
            a2 = s.fma(v2, a2);
            a3 = s.fma(v3, a3);
            s = FloatVector.broadcast(F, a[aAt + aRow]);
            b0 = s.fma(v0, b0);
            b1 = s.fma(v1, b1);
            b2 = s.fma(v2, b2);
            b3 = s.fma(v3, b3);
            s = FloatVector.broadcast(F, a[aAt + 2 * aRow]);
            c0 = s.fma(v0, c0);
            c1 = s.fma(v1, c1);
            c2 = s.fma(v2, c2);
            c3 = s.fma(v3, c3);
            s = FloatVector.broadcast(F, a[aAt + 3 * aRow]);
            d0 = s.fma(v0, d0);
            d1 = s.fma(v1, d1);
            d2 = s.fma(v2, d2);
            d3 = s.fma(v3, d3);
            aAt += aColumn;
            bAt += bRow;
        }
        a0.intoArray(c, to);
        a1.intoArray(c, to + LANES);
        a2.intoArray(c, to + 2 * LANES);
        a3.intoArray(c, to + 3 * LANES);
        b0.intoArray(c, to + cRow);
        b1.intoArray(c, to + cRow + LANES);
        b2.intoArray(c, to + cRow + 2 * LANES);
        b3.intoArray(c, to + cRow + 3 * LANES);
        c0.intoArray(c, to + 2 * cRow);
        c1.intoArray(c, to + 2 * cRow + LANES);
        c2.intoArray(c, to + 2 * cRow + 2 * LANES);
        c3.intoArray(c, to + 2 * cRow + 3 * LANES);
        d0.intoArray(c, to + 3 * cRow);
        d1.intoArray(c, to + 3 * cRow + LANES);
        d2.intoArray(c, to + 3 * cRow + 2 * LANES);
        d3.intoArray(c, to + 3 * cRow + 3 * LANES);
    }

    private static void strip(
            float[] a,
            int aFrom,
            int aRow,
            int aColumn,
            float[] b,
            int bFrom,
            int bRow,
            float[] c,
            int to,
            int cRow,
            int n) {
        FloatVector c0 = FloatVector.fromArray(F, c, to);
        FloatVector c1 = FloatVector.fromArray(F, c, to + cRow);
        FloatVector c2 = FloatVector.fromArray(F, c, to + 2 * cRow);
        FloatVector c3 = FloatVector.fromArray(F, c, to + 3 * cRow);
        int aAt = aFrom;
        int bAt = bFrom;
        for (int k = 0; k < n; k++) {
            FloatVector v = FloatVector.fromArray(F, b, bAt);
            c0 = v.fma(FloatVector.broadcast(F, a[aAt]), c0);
            c1 = v.fma(FloatVector.broadcast(F, a[aAt + aRow]), c1);
            c2 = v.fma(FloatVector.broadcast(F, a[aAt + 2 * aRow]), c2);
            c3 = v.fma(FloatVector.broadcast(F, a[aAt + 3 * aRow]), c3);
            aAt += aColumn;
            bAt += bRow;
        }
        c0.intoArray(c, to);
        c1.intoArray(c, to + cRow);
        c2.intoArray(c, to + 2 * cRow);
        c3.intoArray(c, to + 3 * cRow);
    }
}
