package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.abort;

import ai.lram.backend.Backend;
import ai.lram.backend.Tensor;
import ai.lram.backend.contract.MatmulContract;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.nd4j.linalg.api.ndarray.INDArray;

class Nd4jMatmulTest extends MatmulContract {
    @BeforeAll
    static void requireNd4j() {
        try {
            BlasCore.name();
            Class.forName(Nd4jGemm.class.getName());
        } catch (LinkageError | ClassNotFoundException e) {
            abort("ND4J does not load on this system: " + e.getMessage());
        }
    }

    @Override
    protected Backend openBackend() {
        return LibraryMatmul.open("nd4j", 2);
    }

    @Test
    void sharesTheTensorsMemory() {
        Tensor t = fx.of(fx.normal(3 * 5, 1), 3, 5);
        INDArray a = Nd4jGemm.columns(new Gemm.Matrix(t.segment(), 5, 5, false), 5, 2);
        assertEquals(t.address() + 5 * 4, a.data().pointer().address() + a.offset() * 4, "address of the second row");
        a.putScalar(new int[] {2, 1}, 42f);
        assertEquals(42f, t.get(2 * 5 + 2), "a write through ND4J is seen by the tensor");
        t.set(5 + 4, -7f);
        assertEquals(-7f, a.getFloat(4, 0), "a write through the tensor is seen by ND4J");
        a.addi(1f);
        assertEquals(-6f, t.get(5 + 4), "an operation of ND4J changes the tensor");
    }
}
