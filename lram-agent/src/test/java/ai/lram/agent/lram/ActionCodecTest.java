package ai.lram.agent.lram;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ActionCodecTest {
    private static final ActionCodec CODEC = new ActionCodec(18, 256);

    @ParameterizedTest
    @CsvSource({"-1, 18", "0, 146", "1, 273", "-1e-9, 146", "-5, 18", "5, 273", "0.99999, 273", "-0.99, 19"})
    void encodesLikeThePublishedTokenizer(float x, int id) {
        assertEquals(id, CODEC.encode(x));
    }

    @ParameterizedTest
    @CsvSource({"273, 0.9921875", "18, -1", "5, -1", "146, 0"})
    void lowerEdgesAreThePublishedOnes(int id, float x) {
        assertEquals(x, CODEC.lowerEdge(id));
    }

    @Test
    void lowerEdgeDecodingLooksAtAllIds() {
        float[] logits = new float[3 + 274];
        logits[3 + 200] = 4;
        assertEquals(CODEC.lowerEdge(200), CODEC.decode(ActionCodec.Decoding.LOWER_EDGE, logits, 3));
        logits[3 + 2] = 5;
        assertEquals(-1, CODEC.decode(ActionCodec.Decoding.LOWER_EDGE, logits, 3));
        assertEquals(
                CODEC.centre(200),
                CODEC.decode(ActionCodec.Decoding.CENTRE, logits, 3),
                "the centre looks at bins only");
    }

    @Test
    void centresComeBackWithinHalfABin() {
        Random r = new Random(1);
        for (int i = 0; i < 10_000; i++) {
            float x = (float) (2 * r.nextDouble() - 1);
            assertEquals(x, CODEC.centre(CODEC.encode(x)), 0.5 / 128 * 1.0001);
        }
    }

    @Test
    void theExpectationIsTheMeanOfBinCentres() {
        float[] logits = new float[274];
        java.util.Arrays.fill(logits, -1000f);
        logits[18 + 10] = (float) Math.log(3);
        logits[18 + 20] = 0;
        logits[3] = 500;
        double expected = 0.75 * CODEC.centre(28) + 0.25 * CODEC.centre(38);
        assertEquals(expected, CODEC.decode(ActionCodec.Decoding.EXPECTATION, logits, 0), 1e-6);
        logits[18 + 10] = 300;
        assertEquals(CODEC.centre(28), CODEC.decode(ActionCodec.Decoding.EXPECTATION, logits, 0), 1e-6, "no overflow");
    }

    @Test
    void positionsLieOnTheAxisOfIds() {
        assertEquals(18, CODEC.position(-1));
        assertEquals(18 + 128, CODEC.position(0));
        assertEquals(18 + 256, CODEC.position(7));
        assertEquals(18, CODEC.position(-7));
        Random r = new Random(2);
        for (int i = 0; i < 10_000; i++) {
            float x = (float) (1.98 * r.nextDouble() - 0.99);
            assertEquals(CODEC.encode(x), (int) CODEC.position(x), "position and id name the same bin");
        }
    }

    @Test
    void discreteChoicesAreTheFirstIds() {
        float[] logits = {9, 1, 5, 7, 8};
        assertEquals(1, CODEC.decodeDiscrete(logits, 1, 2));
        assertEquals(3, CODEC.decodeDiscrete(logits, 1, 4));
    }
}
