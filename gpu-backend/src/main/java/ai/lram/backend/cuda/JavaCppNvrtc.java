package ai.lram.backend.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import org.bytedeco.cuda.global.nvrtc;
import org.bytedeco.javacpp.SizeTPointer;

/** NVRTC through the JavaCPP bindings. Loading this class loads the bindings: ask {@link Discovery} first. */
final class JavaCppNvrtc implements Nvrtc {
    private static Handles.Program program(long address) {
        return new Handles.Program().at(address);
    }

    private static MemorySegment strings(Arena arena, List<String> values) {
        MemorySegment array = arena.allocate(ValueLayout.JAVA_LONG, Math.max(1, values.size()));
        for (int i = 0; i < values.size(); i++) {
            array.setAtIndex(
                    ValueLayout.JAVA_LONG, i, arena.allocateFrom(values.get(i)).address());
        }
        return array;
    }

    @Override
    public int version(int[] majorAndMinor) {
        int[] minor = new int[1];
        int[] major = new int[1];
        int status = nvrtc.nvrtcVersion(major, minor);
        majorAndMinor[0] = major[0];
        majorAndMinor[1] = minor[0];
        return status;
    }

    @Override
    public int supportedArchitectureCount(int[] count) {
        return nvrtc.nvrtcGetNumSupportedArchs(count);
    }

    @Override
    public int supportedArchitectures(int[] architectures) {
        return nvrtc.nvrtcGetSupportedArchs(architectures);
    }

    @Override
    public int create(long[] program, String source, String name, List<String> headers, List<String> headerNames) {
        try (Arena arena = Arena.ofConfined()) {
            Handles.Program out = program(0);
            int status = nvrtc.nvrtcCreateProgram(
                    out,
                    new Handles.Bytes(arena.allocateFrom(source)),
                    new Handles.Bytes(arena.allocateFrom(name)),
                    headers.size(),
                    new Handles.Addresses(strings(arena, headers)),
                    new Handles.Addresses(strings(arena, headerNames)));
            program[0] = out.address();
            return status;
        }
    }

    @Override
    public int compile(long program, List<String> options) {
        try (Arena arena = Arena.ofConfined()) {
            return nvrtc.nvrtcCompileProgram(
                    program(program), options.size(), new Handles.Addresses(strings(arena, options)));
        }
    }

    @Override
    public int logSize(long[] bytes, long program) {
        try (SizeTPointer out = new SizeTPointer(1)) {
            int status = nvrtc.nvrtcGetProgramLogSize(program(program), out);
            bytes[0] = out.get();
            return status;
        }
    }

    @Override
    public int log(byte[] log, long program) {
        return nvrtc.nvrtcGetProgramLog(program(program), log);
    }

    @Override
    public int cubinSize(long[] bytes, long program) {
        try (SizeTPointer out = new SizeTPointer(1)) {
            int status = nvrtc.nvrtcGetCUBINSize(program(program), out);
            bytes[0] = out.get();
            return status;
        }
    }

    @Override
    public int cubin(byte[] cubin, long program) {
        return nvrtc.nvrtcGetCUBIN(program(program), cubin);
    }

    @Override
    public int destroy(long program) {
        return nvrtc.nvrtcDestroyProgram(program(program));
    }

    @Override
    public String statusName(int status) {
        return nvrtc.nvrtcGetErrorString(status).getString();
    }
}
