package ai.lram.agent.export;

import java.util.ArrayList;
import java.util.List;

/** The recurrent state of one block as inputs {@code state.B.NAME} and outputs {@code next.B.NAME}. */
final class BlockState {
    static final String IN = "state.";
    static final String OUT = "next.";

    private final GraphBuilder g;
    private final int block;
    private final int batch;

    BlockState(GraphBuilder g, int block, int batch) {
        this.g = g;
        this.block = block;
        this.batch = batch;
    }

    /** @param dims of one session */
    String input(String name, String meaning, int... dims) {
        List<Integer> shape = new ArrayList<>(List.of(batch));
        for (int d : dims) {
            shape.add(d);
        }
        return g.input(new OnnxPort(IN + block + "." + name, OnnxPort.Type.FLOAT, shape, meaning));
    }

    /** The state of that name after this call. */
    void output(String name, String value) {
        String in = IN + block + "." + name;
        OnnxPort port =
                g.inputs().stream().filter(p -> p.name().equals(in)).findFirst().orElseThrow();
        g.output(value, new OnnxPort(OUT + block + "." + name, port.type(), port.shape(), "the new " + in));
    }
}
