package byoc;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.DefaultHttpRequest;
import io.netty.handler.codec.http.DefaultLastHttpContent;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpContent;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpStatusClass;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.handler.codec.http.QueryStringDecoder;
import io.netty.util.ReferenceCountUtil;
import io.netty.util.concurrent.ScheduledFuture;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/**
 * What every request of one connection passes, between netty's HTTP codec and multi-model-server's handlers.
 *
 * <p>It answers /ping, /execution-parameters and /models, refuses early what could not be answered well, hands on
 * one request at a time (multi-model-server would answer pipelined ones in any order), and counts requests, so
 * that none is lost when the server leaves. All methods run on the connection's event loop.
 */
final class Gate extends ChannelDuplexHandler {

    private static final int LINGER_SECONDS = 10;
    private static final int MAX_LOAD_BYTES = 65536;
    private static final int LARGE = 65536; // more than a socket's buffer may keep
    // The headers that mean something further on. Everything else, in any spelling, ends here.
    private static final Set<String> KEPT =
            new HashSet<>(
                    Arrays.asList(
                            "content-type", "content-length", "transfer-encoding", "expect", "connection",
                            "accept", "x-amzn-sagemaker-custom-attributes"));

    private final Traffic traffic;
    private final Queue<Object> waiting = new ArrayDeque<>();
    private boolean active; // a request is under way: it ends when it is both received and answered
    private boolean received;
    private boolean answered;
    private boolean refused; // it got its answer here; what is left of its body is thrown away
    private boolean closing; // the connection ends with this request
    private long reserved;
    private long seen;
    private Record record;
    private Models.Entry target; // the model that this request names, in a multi-model endpoint
    private ByteArrayOutputStream load; // the body of a request to load a model
    private boolean loading; // `target` is being loaded for this request
    private ScheduledFuture<?> patience; // ends a request whose body does not arrive
    private String parts; // what the worker says about its times, and their sum
    private double worked;

    Gate(Traffic traffic) {
        this.traffic = traffic;
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        if (active && received) {
            waiting.add(message); // the next request, sent before this one has its answer
        } else if (message instanceof HttpRequest) {
            begin(context, (HttpRequest) message);
        } else if (active && !refused) {
            receive(context, (HttpContent) message);
        } else {
            ReferenceCountUtil.release(message);
            received |= message instanceof LastHttpContent;
            settle(context);
        }
    }

    private void begin(ChannelHandlerContext context, HttpRequest request) {
        active = true;
        received = answered = refused = false;
        seen = 0;
        target = null;
        load = null;
        loading = false;
        parts = null;
        record = new Record("other");
        closing = traffic.draining || !HttpUtil.isKeepAlive(request);
        traffic.enter();
        if (request.decoderResult().isFailure()) {
            received = closing = true; // nothing sensible can follow
            refuse(context, Answers.error(400, "this is no valid HTTP/1.1 request"));
            ReferenceCountUtil.release(request);
            return;
        }
        FullHttpResponse answer;
        try {
            answer = unmet(request) ? Answers.error(417, "only Expect: 100-continue can be met") : answer(request);
        } catch (Models.Refused refusal) {
            answer = Answers.error(refusal.code, refusal.getMessage());
        }
        if (answer == null) {
            patience = context.executor().schedule(() -> late(context), traffic.timeoutSeconds, TimeUnit.SECONDS);
        }
        if (answer == null && load != null) {
            if (HttpUtil.is100ContinueExpected(request)) {
                context.writeAndFlush(
                        new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, HttpResponseStatus.CONTINUE));
            }
        } else if (answer == null) {
            tidy(request);
            context.fireChannelRead(request);
        } else {
            // Who announces a large body waits for leave to send it, or is about to send what nobody reads.
            closing |= request.headers().contains(HttpHeaderNames.EXPECT)
                    || HttpUtil.getContentLength(request, 0L) > 65536;
            refuse(context, answer);
        }
    }

    /** Further on, netty would take the body of such a request for the next request. */
    private static boolean unmet(HttpRequest request) {
        return request.headers().contains(HttpHeaderNames.EXPECT) && !HttpUtil.is100ContinueExpected(request);
    }

    private void receive(ChannelHandlerContext context, HttpContent content) {
        seen += content.content().readableBytes();
        long most = load != null ? MAX_LOAD_BYTES : traffic.maxBytes;
        if (seen > most) { // a body without Content-Length
            content.release();
            closing = true;
            refuse(context, tooLarge(most));
            received |= content instanceof LastHttpContent;
            return;
        }
        if (content.decoderResult().isFailure()) {
            content.release();
            received = closing = true;
            refuse(context, Answers.error(400, "the request's body is damaged (chunked encoding)"));
            return;
        }
        if (content instanceof LastHttpContent) {
            received = true;
            forgetPatience();
            record.received(seen);
            context.channel().config().setAutoRead(false);
        }
        if (load == null) {
            context.fireChannelRead(content);
            return;
        }
        try {
            content.content().readBytes(load, content.content().readableBytes());
        } catch (IOException impossible) {
            throw new IllegalStateException(impossible);
        } finally {
            content.release();
        }
        if (received) {
            load(context);
        }
    }

    /** A body that trickles in would keep its memory from the others for ever. */
    private void late(ChannelHandlerContext context) {
        if (answered) { // before it was complete; what is left of it does not come
            context.close();
            return;
        }
        closing = true;
        refuse(context, Answers.error(408, "the request's body did not arrive within " + traffic.timeoutSeconds
                + " s; send less at once, or over a faster connection"));
    }

    /** The whole request to load a model is here: let a worker try. */
    private void load(ChannelHandlerContext context) {
        try {
            JsonObject wanted;
            try {
                wanted = JsonParser.parseString(load.toString(StandardCharsets.UTF_8)).getAsJsonObject();
                target = traffic.models.begin(text(wanted.get("model_name")), text(wanted.get("url")));
            } catch (JsonParseException | IllegalStateException | StackOverflowError error) {
                throw new Models.Refused(400, "send {\"model_name\": \"...\", \"url\": \"...\"}");
            }
        } catch (Models.Refused refusal) {
            refuse(context, Answers.error(refusal.code, refusal.getMessage()));
            return;
        }
        loading = true;
        HttpRequest order = new DefaultHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.POST, "/invocations");
        order.headers().set("content-type", "application/octet-stream");
        order.headers().set("content-length", 0);
        order.headers().set("x-byoc-model", target.key);
        order.headers().set("x-byoc-load", "1");
        context.fireChannelRead(order);
        context.fireChannelRead(new DefaultLastHttpContent());
    }

    private void forgetPatience() {
        if (patience != null) {
            patience.cancel(false);
            patience = null;
        }
    }

    private static String text(JsonElement element) {
        if (element == null || !element.isJsonPrimitive()) {
            throw new IllegalStateException();
        }
        return element.getAsString();
    }

    private void refuse(ChannelHandlerContext context, FullHttpResponse answer) {
        refused = true;
        forgetPatience();
        context.writeAndFlush(answer, watched(context, answer, context.newPromise()));
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        if (message instanceof HttpResponse
                && ((HttpResponse) message).status().codeClass() != HttpStatusClass.INFORMATIONAL) {
            ChannelPromise written = promise.unvoid();
            HttpResponse response = affordable(context, ours((HttpResponse) message), written);
            context.write(response, watched(context, response, written));
        } else {
            context.write(message, promise);
        }
    }

    /** A worker's answer; where multi-model-server speaks itself, a better one. */
    private HttpResponse ours(HttpResponse response) {
        parts = response.headers().get("x-byoc-parts");
        if (parts == null) {
            FullHttpResponse better = Answers.lost(response, loading);
            ReferenceCountUtil.release(response);
            response = better;
        } else {
            worked = Double.parseDouble(response.headers().get("x-byoc-worked"));
            response.headers().remove("x-byoc-parts").remove("x-byoc-worked");
        }
        if (loading) {
            loading = false;
            if (response.status().code() != 200) {
                traffic.models.remove(target);
            } else {
                traffic.models.ready(target);
                ReferenceCountUtil.release(response);
                response = Answers.json(200, target.json().toString());
            }
        }
        return response;
    }

    /** A large answer that nobody reads stays in memory: it is counted, and has its time. */
    private HttpResponse affordable(ChannelHandlerContext context, HttpResponse response, ChannelPromise promise) {
        int size = response instanceof FullHttpResponse ? ((FullHttpResponse) response).content().readableBytes() : 0;
        if (size < LARGE) {
            return response;
        }
        if (!traffic.reserve(size)) {
            ReferenceCountUtil.release(response);
            return Answers.error(503, "the server is busy; try again");
        }
        ScheduledFuture<?> end =
                context.executor().schedule(() -> { context.close(); }, traffic.timeoutSeconds, TimeUnit.SECONDS);
        promise.addListener(future -> {
            end.cancel(false);
            traffic.release(size);
        });
        return response;
    }

    private ChannelPromise watched(ChannelHandlerContext context, HttpResponse response, ChannelPromise promise) {
        closing |= traffic.draining;
        response.headers().set(
                HttpHeaderNames.CONNECTION, closing ? HttpHeaderValues.CLOSE : HttpHeaderValues.KEEP_ALIVE);
        if (response.status().code() == 503) {
            response.headers().set(HttpHeaderNames.RETRY_AFTER, "1");
        }
        String id = String.format("%016x", ThreadLocalRandom.current().nextLong());
        response.headers().set("x-request-id", id);
        if (record != null) { // nobody wants a line for each ping
            record.write(id, response.status().code(), parts, worked);
        }
        return promise.addListener((ChannelFutureListener) future -> {
            traffic.release(reserved);
            reserved = 0;
            answered = true;
            settle(context);
            if (active && !received && closing) {
                // Closing on unread data would reset the connection under the answer: let the client read it.
                context.executor().schedule(() -> { context.close(); }, LINGER_SECONDS, TimeUnit.SECONDS);
            }
        });
    }

    private void settle(ChannelHandlerContext context) {
        if (!active || !received || !answered) {
            return;
        }
        active = false;
        traffic.leave();
        if (closing) {
            context.close();
            return;
        }
        context.channel().config().setAutoRead(true);
        while (!waiting.isEmpty() && !(active && received)) {
            channelRead(context, waiting.poll());
        }
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        waiting.forEach(ReferenceCountUtil::release);
        waiting.clear();
        forgetPatience();
        if (active) { // the client has gone; a worker may still be at it
            active = false;
            traffic.leave();
            if (loading) {
                traffic.models.remove(target);
            }
            if (reserved > 0 && received && !answered) {
                traffic.abandon(this, reserved);
            } else {
                traffic.release(reserved);
            }
            reserved = 0;
        }
        context.fireChannelInactive();
    }

    /** An answer that needs no worker, or null. */
    private FullHttpResponse answer(HttpRequest request) throws Models.Refused {
        String path = request.uri().split("[?#]", 2)[0];
        String method = request.method().name();
        switch (path) {
            case "/ping":
                record = null;
                if (!method.equals("GET") && !method.equals("HEAD")) {
                    return Answers.wrongMethod("GET, HEAD", "/ping answers GET");
                }
                return ping();
            case "/execution-parameters":
                if (!method.equals("GET")) {
                    return Answers.wrongMethod("GET", "/execution-parameters answers GET");
                }
                return Answers.json(200, traffic.batchParameters);
            case "/invocations":
                record = new Record(path);
                if (traffic.models.enabled) {
                    return Answers.error(404, "this endpoint holds many models: POST to /models/NAME/invoke");
                }
                return invoke(request, "/invocations");
            default:
                if (traffic.models.enabled && (path.equals("/models") || path.startsWith("/models/"))) {
                    return manage(request, path);
                }
                return Answers.error(404, "no such path; there are /ping, /execution-parameters and "
                        + (traffic.models.enabled ? "/models" : "/invocations"));
        }
    }

    /** What SageMaker asks of a multi-model endpoint. */
    private FullHttpResponse manage(HttpRequest request, String path) throws Models.Refused {
        String method = request.method().name();
        String[] names = path.split("/", -1); // "", "models", name, "invoke"
        record = new Record(names.length == 4 ? "/models/*/invoke" : "/models");
        if (names.length == 2) {
            if (method.equals("GET")) {
                return list(request.uri());
            }
            if (!method.equals("POST")) {
                return Answers.wrongMethod("GET, POST", "/models answers GET and POST");
            }
            if (!traffic.workerReady()) {
                return Answers.error(503, "no worker is ready; ask /ping and try again");
            }
            if (HttpUtil.getContentLength(request, 0L) > MAX_LOAD_BYTES) {
                return tooLarge(MAX_LOAD_BYTES);
            }
            load = new ByteArrayOutputStream();
            return null;
        }
        String name;
        try {
            name = URLDecoder.decode(names[2].replace("+", "%2B"), StandardCharsets.UTF_8);
        } catch (IllegalArgumentException error) {
            return Answers.error(400, "the model's name in the path is not well encoded");
        }
        if (names.length == 4 && names[3].equals("invoke")) {
            target = traffic.models.get(name);
            return invoke(request, "/models/NAME/invoke");
        }
        if (names.length != 3) {
            return Answers.error(404, "no such path; there are /models, /models/NAME and /models/NAME/invoke");
        }
        switch (method) {
            case "GET":
                return Answers.json(200, traffic.models.get(name).json().toString());
            case "DELETE":
                traffic.models.remove(traffic.models.get(name));
                return Answers.json(200, "{}");
            default:
                return Answers.wrongMethod("GET, DELETE", "/models/NAME answers GET and DELETE");
        }
    }

    private FullHttpResponse list(String uri) throws Models.Refused {
        try {
            QueryStringDecoder query = new QueryStringDecoder(uri);
            return Answers.json(200, traffic.models.list(first(query, "limit"), first(query, "next_page_token")));
        } catch (IllegalArgumentException error) {
            throw new Models.Refused(400, "the query is not well encoded");
        }
    }

    private static String first(QueryStringDecoder query, String name) {
        List<String> values = query.parameters().get(name);
        return values == null ? null : values.get(0);
    }

    private FullHttpResponse invoke(HttpRequest request, String path) {
        if (!request.method().equals(HttpMethod.POST)) {
            return Answers.wrongMethod("POST", "send the picture to " + path + " with POST");
        }
        request.setUri("/invocations"); // what multi-model-server knows; a query would become parameters
        return admit(request);
    }

    private FullHttpResponse ping() {
        if (traffic.draining) {
            return Answers.error(503, "the server is about to stop");
        }
        return traffic.workerReady() ? Answers.json(200, "{\"status\":\"Healthy\"}") : Answers.error(503, "the model is not loaded yet");
    }

    private FullHttpResponse admit(HttpRequest request) {
        if (!traffic.workerReady()) {
            return Answers.error(503, "no worker is ready; ask /ping and try again");
        }
        long length = HttpUtil.getContentLength(request, -1L);
        if (length > traffic.maxBytes) {
            return tooLarge(traffic.maxBytes);
        }
        long size = length >= 0 ? length : HttpUtil.isTransferEncodingChunked(request) ? traffic.maxBytes : 0;
        if (!traffic.reserve(size)) {
            return Answers.error(503, "the server is busy; try again");
        }
        reserved = size;
        return null;
    }

    private static FullHttpResponse tooLarge(long most) {
        return Answers.error(413, "the request is larger than " + most + " bytes; send less at once");
    }

    private void tidy(HttpRequest request) {
        HttpHeaders headers = request.headers();
        for (String name : headers.names()) {
            String lower = name.toLowerCase(Locale.ROOT);
            String value = String.join(",", headers.getAll(name));
            headers.remove(name);
            if (KEPT.contains(lower)) {
                headers.set(lower, value);
            }
        }
        String type = headers.get("content-type", "");
        String kind = type.toLowerCase(Locale.ROOT).trim();
        if (kind.isEmpty()) {
            headers.set("content-type", "application/octet-stream");
        } else if (kind.startsWith("multipart/") || kind.startsWith("application/x-www-form-urlencoded")) {
            // multi-model-server would take the form apart itself, and fail with 503 on a damaged one.
            headers.set("content-type", "application/octet-stream");
            headers.set("x-form-type", type);
        }
        if (target != null) {
            headers.set("x-byoc-model", target.key);
        }
    }
}
