package ai.lram.bench.subject;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.export.OnnxOptions.Weights;
import ai.lram.bench.BenchException;
import ai.lram.bench.WrongAnswerException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;

class OrtSubjectTest {
    private static final ModelSize SMALL = ModelSize.of("1m");
    private static final ModelCard CARD = Shapes.card(Shapes.vector("t", 204, 1, 100));

    @Test
    void theExportedStepAnswersAsOursDoesBeyondTheFirstFolds() {
        Path folder;
        try (ExportedModel exported = ExportedModel.write(SMALL, CARD, List.of(Weights.values()))) {
            folder = exported.file(Weights.FP32).getParent();
            for (int threads : List.of(1, 2)) {
                try (OrtSubject fp32 = OrtSubject.open(exported, Weights.FP32, threads);
                        OrtSubject int8 = OrtSubject.open(exported, Weights.INT8, threads)) {
                    double exact = fp32.check();
                    assertTrue(exact > 0 && exact < 1e-4, "fp32 differs by " + exact);
                    double narrow = int8.check();
                    assertTrue(narrow > exact && narrow < 0.1, "int8 differs by " + narrow);
                    fp32.begin(1, 9);
                    assertEquals(exact, fp32.check(), 1e-6, "a new episode starts from nothing");
                    assertTrue(int8.stepBytes(1, 0) < fp32.stepBytes(1, 0));
                    assertThrows(IllegalArgumentException.class, () -> fp32.begin(2, 0));
                }
            }
        }
        assertFalse(Files.exists(folder), "the files go with the model");
    }

    @Test
    void anAnswerThatIsNotOursIsRefused() {
        try (ExportedModel exported = ExportedModel.write(SMALL, CARD, List.of(Weights.FP32));
                OrtSubject subject = OrtSubject.open(exported, Weights.FP32, 1)) {
            int last = exported.answers().length - 1;
            exported.answers()[last][3] += 0.1f;
            WrongAnswerException e = assertThrows(WrongAnswerException.class, subject::check);
            assertTrue(e.getMessage().contains("step " + last + " differs from our own step"), e.getMessage());
        }
    }

    @Test
    void aFileThatOnnxRuntimeRefusesIsNamed() throws IOException {
        try (ExportedModel exported = ExportedModel.write(SMALL, CARD, List.of(Weights.FP32))) {
            Files.writeString(exported.file(Weights.FP32), "no model");
            BenchException e = assertThrows(BenchException.class, () -> OrtSubject.open(exported, Weights.FP32, 1));
            assertTrue(
                    e.getMessage().contains("could not load") && e.getMessage().contains("; fix: "), e.getMessage());
        }
    }

    @Test
    void aLibraryThatDoesNotLoadIsOneLine() {
        assertTrue(OrtLibrary.whyNot(() -> {}).isEmpty());
        assertEquals(
                "the library of ONNX Runtime does not load here (java.lang.UnsatisfiedLinkError: no glibc)",
                OrtLibrary.whyNot(() -> {
                            throw new ExceptionInInitializerError(new UnsatisfiedLinkError("no glibc\nat all"));
                        })
                        .orElseThrow());
        assertTrue(OrtLibrary.whyNot(() -> {
                    throw new UncheckedIOException(new IOException("disk full"));
                })
                .orElseThrow()
                .contains("disk full"));
    }
}
