package byoc;

import com.google.gson.JsonObject;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpVersion;
import java.nio.charset.StandardCharsets;

/** Answers that no worker gave. */
final class Answers {

    private Answers() {}

    static FullHttpResponse error(int code, String message) {
        JsonObject object = new JsonObject();
        object.addProperty("code", code);
        object.addProperty("message", message);
        return json(code, object.toString());
    }

    /** `allowed` goes into the header Allow, which a 405 must have. */
    static FullHttpResponse wrongMethod(String allowed, String message) {
        FullHttpResponse response = error(405, message);
        response.headers().set(HttpHeaderNames.ALLOW, allowed);
        return response;
    }

    static FullHttpResponse json(int code, String text) {
        ByteBuf body = Unpooled.copiedBuffer(text, StandardCharsets.UTF_8);
        FullHttpResponse response =
                new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, HttpResponseStatus.valueOf(code), body);
        response.headers().set(HttpHeaderNames.CONTENT_TYPE, "application/json");
        response.headers().set(HttpHeaderNames.CONTENT_LENGTH, body.readableBytes());
        return response;
    }

    /** In the place of what multi-model-server says when it has no answer of a worker. */
    static FullHttpResponse lost(HttpResponse response, boolean loading) {
        int code = response.status().code();
        if (code < 500) {
            return error(code, "the server cannot take this request: " + response.status().reasonPhrase());
        }
        if (code == 503) {
            return error(503, "the server is busy; try again");
        }
        if (loading) {
            return error(507, "the worker was lost while it loaded the model (not enough memory?)");
        }
        return error(503, "the worker that had this request gave no answer and was replaced; try again");
    }
}
